import json
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest

from edgechat.api.ollama.routes import ChatReply
from edgechat.api.ollama.wire import ChatRequest, GenerateRequest
from edgechat.api.reply import Part, put_together
from edgechat.types import Called, Delta, Done, ModelInfo, Reasoning, Sampling, Served, Timing, ToolCall, Usage
from tests.api.conftest import serving
from tests.conftest import FakeModel

HI = [{"role": "user", "content": "hi"}]
DONE = Done("stop", "eos", Usage(3, 20), Timing(0, 1.5, 10.0))
INFO = ModelInfo(4096, 4096, 0, 259, 0, "none", 1, "fake")


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_chat_is_streamed_unless_told_otherwise(client: httpx.Client) -> None:
    answer = client.post("/api/chat", json={"messages": HI})
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    *parts, last = lines(answer.text)
    assert "".join(part["message"]["content"] for part in parts) == "You said: hi"
    assert not any(part["done"] for part in parts)
    assert (last["done"], last["done_reason"]) == (True, "stop")
    whole = client.post("/api/chat", json={"messages": HI, "stream": False}).json()
    assert whole["message"] == {"role": "assistant", "content": "You said: hi"}
    assert whole["eval_count"] == last["eval_count"] > 0
    assert whole["edgechat"]["stop_reason"] == "eos"


def test_generate_answers_a_prompt(client: httpx.Client) -> None:
    parts = lines(client.post("/api/generate", json={"prompt": "hi"}).text)
    whole = client.post("/api/generate", json={"prompt": "hi", "stream": False}).json()
    assert "".join(part["response"] for part in parts) == whole["response"] == "You said: hi"
    assert whole["done_reason"] == "stop"


@pytest.mark.parametrize(("path", "empty"), [("/api/chat", "message"), ("/api/generate", "response")])
def test_an_empty_question_asks_whether_the_model_is_there(client: httpx.Client, path: str, empty: str) -> None:
    answer = client.post(path, json={"keep_alive": "5m"}).json()
    assert (answer["done"], answer["done_reason"]) == (True, "load")
    assert empty in answer


def test_the_model_is_known_with_and_without_its_tag(client: httpx.Client) -> None:
    (model,) = client.get("/api/tags").json()["models"]
    for name in (model["name"], f"{model['name']}:latest"):
        assert client.post("/api/show", json={"model": name}).json()["capabilities"][0] == "completion"
    refused = client.post("/api/show", json={"model": "llama3"})
    assert (refused.status_code, refused.json()["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("path", "more", "param"),
    [
        ("/api/chat", {"options": {"temprature": 1}}, "options.temprature"),
        ("/api/chat", {"options": {"mirostat": 2}}, "options.mirostat"),
        ("/api/chat", {"options": {"repeat_last_n": 8}}, "options.repeat_last_n"),
        ("/api/chat", {"options": {"num_predict": 0}}, "options.num_predict"),
        ("/api/chat", {"options": {"temperature": 3}}, "options.temperature"),
        ("/api/chat", {"format": "xml"}, "format"),
        ("/api/chat", {"tools": [{"function": {"name": "f"}}] * 2}, "tools"),
        ("/api/chat", {"think": "high"}, "think"),
        ("/api/chat", {"logprobs": 1}, "logprobs"),
        ("/api/chat", {"top_logprobs": 2}, "top_logprobs"),
        ("/api/chat", {"keep_alive": "soon"}, "keep_alive"),
        ("/api/chat", {"messages": [{"role": "wizard", "content": "x"}]}, "messages.0.role"),
        ("/api/chat", {"messages": [{"role": "user", "content": "x", "images": ["AA=="]}]}, "messages.0.images.0"),
        ("/api/generate", {"template": "x"}, "template"),
        ("/api/generate", {"suffix": "x"}, "suffix"),
        ("/api/generate", {"context": [1]}, "context"),
        ("/api/generate", {"raw": True, "system": "x"}, "system"),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_what_is_not_honoured_is_refused_by_name(
    client: httpx.Client, path: str, more: dict[str, Any], param: str
) -> None:
    question: dict[str, Any] = {"messages": HI} if path == "/api/chat" else {"prompt": "hi"}
    answer = client.post(path, json=question | more)
    assert answer.status_code == 400
    assert answer.json()["param"] == param
    assert param.split(".")[-1] in answer.json()["error"]


def test_turns_options_and_formats_become_a_request() -> None:
    turns = [
        {"role": "system", "content": "be kind"},
        {
            "role": "assistant",
            "thinking": "hm",
            "tool_calls": [
                {"function": {"name": "weather", "arguments": {"city": "Paris"}}},
                {"id": "c2", "function": {"name": "clock", "arguments": {}}},
            ],
        },
        {"role": "tool", "content": "18", "tool_name": "weather"},
        {"role": "tool", "content": "noon"},
    ]
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    options = {"num_predict": 5, "seed": 1, "stop": ["a"], "repeat_penalty": 1.1, "num_ctx": 4096, "min_p": 0.1}
    body = {"messages": turns, "tools": [tool], "options": options, "format": {"type": "object"}, "think": False}
    asked = ChatRequest.model_validate(body).generation(Sampling())
    assert asked.messages[1].tool_calls == (
        ToolCall("call_1_0", "weather", '{"city":"Paris"}'),
        ToolCall("c2", "clock", "{}"),
    )
    assert [(m.name, m.tool_call_id) for m in asked.messages[2:]] == [("weather", "call_1_0"), ("clock", "c2")]
    assert (asked.max_tokens, asked.stop, asked.schema, asked.thinking) == (5, ("a",), '{"type":"object"}', False)
    assert (asked.sampling.seed, asked.sampling.repetition_penalty, asked.sampling.min_p) == (1, 1.1, 0.1)
    assert asked.tools[0].name == "weather"
    unlimited = GenerateRequest.model_validate({"prompt": "x", "raw": True, "options": {"num_predict": -1}})
    assert unlimited.generation(Sampling()).prompt == "x"
    assert unlimited.generation(Sampling()).guards.cap is False


def test_thoughts_and_calls_are_told() -> None:
    parts: list[Part] = [
        Reasoning("hm"),
        Delta("I look."),
        Called(0, "c1", "weather", '{"a"'),
        Called(0, "c1", "weather", ":1}"),
    ]
    served = Served(name="m", sha256="", recipe="none", sampling=Sampling(), info=INFO, since=0)
    reply = ChatReply(served)
    said = lines(b"".join([*(line for part in parts for line in reply.part(part)), *reply.end(DONE)]).decode())
    assert [line["message"].get("thinking") for line in said] == ["hm", None, None, None]
    call = {"id": "c1", "function": {"index": 0, "name": "weather", "arguments": {"a": 1}}}
    assert said[2]["message"]["tool_calls"] == [call]
    assert (said[3]["eval_duration"], said[3]["prompt_eval_duration"]) == (2_000_000_000, 1_500_000)
    whole = ChatReply(served).whole(put_together(parts, DONE))["message"]
    assert whole == {"role": "assistant", "content": "I look.", "thinking": "hm", "tool_calls": [call]}


@pytest.mark.parametrize(("stream", "status"), [(False, 503), (True, 200)])
def test_a_failure_in_the_answer_is_an_error_and_no_false_end(
    fake_model: FakeModel, tmp_path: Path, stream: bool, status: int
) -> None:
    with serving(fake_model(fail_at=3), tmp_path / "home") as base:
        answer = httpx.post(f"{base}/api/chat", json={"messages": HI, "stream": stream}, timeout=10)
        assert answer.status_code == status
        *parts, last = lines(answer.text)
        assert last["code"] == "engine_failed"
        assert not any(part["done"] for part in parts)
        if stream:
            with (
                closing(ollama.Client(host=base)) as official,
                pytest.raises(ollama.ResponseError, match="engine failed"),
            ):
                list(official.chat(model=parts[0]["model"], messages=HI, stream=True))


def test_the_oldest_turns_go_where_truncating_is_not_forbidden(client: httpx.Client) -> None:
    long = [{"role": "user", "content": letter * 3_000} for letter in "xy"]  # the last alone fits
    for more in ({}, {"truncate": True}):
        answer = client.post("/api/chat", json={"messages": long, "stream": False, **more})
        assert answer.json()["edgechat"]["dropped_messages"] == 1
    refused = client.post("/api/chat", json={"messages": long, "stream": False, "truncate": False})
    assert (refused.status_code, refused.json()["code"]) == (400, "context_length_exceeded")


def test_log_probabilities_come_with_every_part_and_with_the_whole(client: httpx.Client) -> None:
    with closing(ollama.Client(host=str(client.base_url))) as official:
        model = official.list().models[0].model
        parts = list(official.chat(model=model, messages=HI, stream=True, logprobs=True, top_logprobs=2))
        told = [one for part in parts for one in part.logprobs or ()]
        assert "".join(one.token for one in told) == "You said: hi"
        assert all(one.logprob <= 0 and len(one.top_logprobs or ()) == 2 for one in told)
        whole = official.generate(model=model, prompt="hi", logprobs=True)
        assert [one.token for one in whole.logprobs or ()] == [one.token for one in told]
        assert official.generate(model=model, prompt="hi").logprobs is None


def test_the_official_client_works(client: httpx.Client) -> None:
    with closing(ollama.Client(host=str(client.base_url))) as official:
        model = official.list().models[0].model
        assert official.chat(model=model, messages=HI, keep_alive="5m").message.content == "You said: hi"
        parts = list(official.chat(model=model, messages=HI, stream=True))
        assert "".join(part.message.content for part in parts) == "You said: hi"
        assert official.generate(model=model, prompt="hi").response == "You said: hi"
        assert official.show(model).capabilities
        assert [one.model for one in official.ps().models] == [model]
        with pytest.raises(ollama.ResponseError, match="mirostat") as refused:
            official.chat(model=model, messages=HI, options={"mirostat": 1})
        assert refused.value.status_code == 400
