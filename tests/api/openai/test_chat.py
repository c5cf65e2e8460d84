import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from edgechat.api.examples import SERVED
from edgechat.api.openai import choices
from edgechat.api.openai.chat import ChatReply
from edgechat.scheduler.loop import RUNNING
from edgechat.types import Media
from tests.api.conftest import serving
from tests.conftest import FakeModel, rambling

ROUTE = "/v1/chat/completions"


def body(text: str = "hello", **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **more}


def schema(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}


def events(answer: httpx.Response) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def test_a_whole_answer_has_openais_shape_and_says_what_was_done(client: httpx.Client) -> None:
    answer = client.post(ROUTE, json=body("你好")).json()
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "You said: 你好", "refusal": None}
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["system_fingerprint"].startswith("fp_")
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"]["cached_tokens"] < usage["prompt_tokens"]
    assert set(answer["edgechat"]) == {
        "version",
        "model_sha256",
        "recipe",
        "queue_ms",
        "prefill_ms",
        "decode_tok_s",
        "cached_tokens",
        "dropped_messages",
        "stop_reason",
        "guards",
        "fallback",
        "ignored",
    }


def test_a_second_turn_says_how_much_came_from_the_cache(client: httpx.Client) -> None:
    first = client.post(ROUTE, json=body("hello")).json()
    turns = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": first["choices"][0]["message"]["content"]},
        {"role": "user", "content": "more"},
    ]
    second = client.post(ROUTE, json={"messages": turns}).json()
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] >= first["usage"]["total_tokens"]
    assert second["edgechat"]["cached_tokens"] == second["usage"]["prompt_tokens_details"]["cached_tokens"]


def test_a_stream_is_the_whole_answer_in_parts(client: httpx.Client) -> None:
    whole = client.post(ROUTE, json=body("emoji 👋🏽 你好")).json()
    answer = client.post(ROUTE, json=body("emoji 👋🏽 你好", stream=True, stream_options={"include_usage": True}))
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    *chunks, last, end = events(answer)
    assert end == "[DONE]"
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert text == whole["choices"][0]["message"]["content"]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
    assert last["edgechat"]["stop_reason"] == "eos"
    assert len({chunk["id"] for chunk in [*chunks, last]}) == 1


def test_without_include_usage_the_finish_chunk_is_the_last(client: httpx.Client) -> None:
    *_, last, end = events(client.post(ROUTE, json=body(stream=True)))
    assert end == "[DONE]"
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["edgechat"]["stop_reason"] == "eos"


ENDLESS = {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}  # no text is long enough


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"n": 0}, "n"),
        ({"n": 9}, "n"),
        ({"n": True}, "n"),
        ({"n": 1_000_000_000}, "n"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"seed": 1 << 63}, "seed"),
        ({"stop": ["a"] * 33}, "stop"),
        ({"stop": ""}, "stop"),
        ({"stop": ["a", 1]}, "stop.1"),
        ({"stop": {"a": 1}}, "stop"),
        ({"logprobs": 1}, "logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}] * 2}, "tools"),
        ({"tools": [{"type": 1}]}, "tools.0.type"),
        ({"tools": [{"google_search": {}}]}, "tools.0.function"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}], "tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "response_format.json_schema.schema",
        ),
        ({"response_format": schema({"type": "wizard"})}, "response_format"),
        ({"response_format": schema({"$ref": "#"})}, "response_format"),
        ({"response_format": schema({"anyOf": [{"$ref": "#"}]})}, "response_format"),
        ({"response_format": schema(ENDLESS)}, "response_format"),
        ({"tools": [{"function": {"name": "f", "parameters": {"$ref": "#"}}}], "tool_choice": "required"}, "tools"),
        ({"tools": [{"function": {"name": "f", "parameters": ENDLESS}}], "tool_choice": "required"}, "tools"),
        ({"response_format": schema({"type": "string", "pattern": "(?=a)b"})}, "response_format"),
        ({"response_format": schema({"enum": ["x" * 70_000]})}, "response_format"),
        ({"truncation": "middle"}, "truncation"),
        ({"guards": {"loop": 1}}, "guards.loop"),
        ({"guards": {"everything": False}}, "guards.everything"),
        ({"enable_thinking": True}, "enable_thinking"),
        ({"reasoning_effort": "utmost"}, "reasoning_effort"),
        ({"logit_bias": {"999999": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1"),
        ({"logit_bias": {"01": 1}}, "logit_bias.01"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function"),
        ({"chat_template": "x"}, "chat_template"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": {"a": 1}}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "x", "tool_call_id": "1"}]}, "messages.0.tool_call_id"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}, "messages.0.tool_call_id"),
        ({"messages": "hello"}, "messages"),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_what_is_not_honoured_is_refused_by_name(client: httpx.Client, more: dict[str, Any], param: str) -> None:
    answer = client.post(ROUTE, json=body() | more)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"
    assert "\n" not in error["message"]


def test_neutral_values_and_nulls_are_accepted(client: httpx.Client) -> None:
    neutral: dict[str, Any] = {
        "n": 1,
        "logprobs": False,
        "top_logprobs": 0,
        "response_format": {"type": "text"},
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "service_tier": "auto",
        "store": False,
        "metadata": {"a": "b"},
        "user": "me",
        "temperature": None,
        "stop": None,
        "model": None,
        "functions": None,
        "reasoning_effort": "medium",
        "top_p": 0,
    }
    assert client.post(ROUTE, json=body(**neutral)).status_code == 200


def test_text_parts_are_joined_and_developer_means_system(client: httpx.Client) -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    turns = [{"role": "developer", "content": "be kind"}, {"role": "user", "content": parts}]
    answer = client.post(ROUTE, json={"messages": turns}).json()
    assert answer["choices"][0]["message"]["content"] == "You said: one two"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[1]",
        b'"x"',
        b"42",
        b"{",
        b'{"messages": NaN}',
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"messages": [{"role": "user", "content": "\xff"}]}',
        '{"messages": []}'.encode("utf-16"),
        b"[" * 100_000,
        b'{"metadata":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"seed": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda raw: repr(raw[:24]),
)
def test_a_bad_body_is_a_400_with_one_line(client: httpx.Client, raw: bytes) -> None:
    answer = client.post(ROUTE, content=raw, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_cannot_fit_is_a_400_before_the_first_byte(client: httpx.Client, stream: bool) -> None:
    answer = client.post(ROUTE, json=body("x" * 5000, stream=stream))
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert "4096" in error["message"]
    assert "50" in error["message"]


def test_an_unknown_model_is_a_404_and_the_served_one_is_named(client: httpx.Client) -> None:
    answer = client.post(ROUTE, json=body(model="gpt-4o"))
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"
    assert client.get("/v1/models/gpt-4o").status_code == 404
    served = client.get("/v1/models").json()["data"][0]["id"]
    assert client.get(f"/v1/models/{served}").json()["id"] == served
    assert client.post(ROUTE, json=body(model=served)).status_code == 200


@pytest.mark.parametrize(("stream", "status"), [(False, 503), (True, 200)])
def test_a_failure_in_the_answer_is_an_error_and_no_false_end(
    fake_model: FakeModel, tmp_path: Path, stream: bool, status: int
) -> None:
    with serving(fake_model(fail_at=3), tmp_path / "home") as base:
        answer = httpx.post(f"{base}{ROUTE}", json=body(stream=stream), timeout=10)
    assert answer.status_code == status
    if stream:
        *chunks, last = events(answer)
        assert last["error"]["code"] == "engine_failed"
        assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks)
    else:
        assert answer.json()["error"]["code"] == "engine_failed"


def test_those_who_wait_see_their_place_as_a_comment(fake_model: FakeModel, tmp_path: Path) -> None:
    with serving(fake_model(reply=rambling(3500), step_ms=5), tmp_path / "home") as base, ExitStack() as open_:
        for user in range(RUNNING):
            long = body(stream=True, user=str(user), max_tokens=3000)
            answer = open_.enter_context(httpx.stream("POST", f"{base}{ROUTE}", json=long, timeout=10))
            assert answer.status_code == 200
        last = httpx.post(f"{base}{ROUTE}", json=body(stream=True, max_tokens=1, user="last"), timeout=20)
        assert ": queued 1 of 1" in last.text


def test_a_full_queue_is_a_429_that_says_when(fake_model: FakeModel, tmp_path: Path) -> None:
    with serving(fake_model(reply=rambling(3500), step_ms=5), tmp_path / "home", queue=1) as base, ExitStack() as open_:
        for user in range(RUNNING + 1):
            long = body(stream=True, user=str(user), max_tokens=3000)
            open_.enter_context(httpx.stream("POST", f"{base}{ROUTE}", json=long, timeout=10))
        refused = httpx.post(f"{base}{ROUTE}", json=body(user="last"), timeout=10)
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert int(refused.headers["retry-after"]) >= 1


def test_a_priority_is_one_of_two(client: httpx.Client) -> None:
    assert client.post(ROUTE, json=body(), headers={"X-Edgechat-Priority": "background"}).status_code == 200
    assert client.post(ROUTE, json=body(), headers={"X-Edgechat-Priority": "first!"}).status_code == 400


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_the_engine(fake_model: FakeModel, tmp_path: Path, stream: bool) -> None:
    with serving(fake_model(reply=rambling(4000), step_ms=5), tmp_path / "home") as base:
        long = body(stream=stream, max_tokens=4000)
        with (
            pytest.raises(httpx.ReadTimeout),
            httpx.stream("POST", f"{base}{ROUTE}", json=long, timeout=0.3) as gone,
        ):
            next(gone.iter_bytes())
            raise httpx.ReadTimeout("left")
        started = time.monotonic()
        assert httpx.post(f"{base}{ROUTE}", json=body(max_tokens=2), timeout=10).status_code == 200
        assert time.monotonic() - started < 3  # the first answer alone would take 20 s


def test_the_official_client_works(client: httpx.Client) -> None:
    with openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="none", max_retries=0) as official:
        turns: Any = [{"role": "user", "content": "hi"}]
        model = official.models.list().data[0].id
        whole = official.chat.completions.create(model=model, messages=turns, seed=1, stop=["never"])
        assert whole.choices[0].message.content == "You said: hi"
        stream = official.chat.completions.create(
            model=model, messages=turns, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == "You said: hi"
        assert chunks[-1].usage is not None and whole.usage is not None
        counted = (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens)
        assert counted == (whole.usage.prompt_tokens, len("You said: hi"))
        with pytest.raises(openai.NotFoundError):
            official.chat.completions.create(model="other", messages=turns)
        with pytest.raises(openai.BadRequestError) as caught:
            official.chat.completions.create(model=model, messages=turns, n=30)
        assert caught.value.param == "n"


@pytest.mark.parametrize(("path", "more"), [(ROUTE, {}), ("/v1/completions", {"messages": None, "prompt": "hi"})])
@pytest.mark.parametrize("count", [1, 2])
def test_every_chunk_has_a_choice_but_the_usage_that_was_asked_for(
    client: httpx.Client, path: str, more: dict[str, Any], count: int
) -> None:
    asked = body(stream=True, n=count) | more
    *chunks, end = events(client.post(path, json=asked))
    assert all(chunk["choices"] for chunk in chunks)
    assert ("edgechat" in chunks[-1], end) == (True, "[DONE]")
    *chunks, last, _ = events(client.post(path, json=asked | {"stream_options": {"include_usage": True}}))
    assert all(chunk["choices"] for chunk in chunks)
    assert (last["choices"], "edgechat" in last, last["usage"]["total_tokens"] > 0) == ([], True, True)


def test_of_several_answers_too_it_is_told_how_far_their_pictures_are() -> None:
    said = choices._Said(ChatReply(SERVED), 2)
    assert list(said((0, Media("92ae", "encode", 50, 200)))) == [b": encode 50 of 200\n\n"]
