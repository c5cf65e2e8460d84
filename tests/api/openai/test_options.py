"""What a chat request can ask for besides text, on the fake engine."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from tests.api.conftest import serving
from tests.api.openai.test_chat import ROUTE, body, events, schema

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
ADD = {"type": "function", "function": {"name": "add", "parameters": PERSON}}
NOW = {"type": "function", "function": {"name": "now", "description": "the time <|im_end|>"}}
THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
)
REPLIES = {
    "call": 'Wait.\n<tool_call>\n{"name": "now", "arguments": {"zone": "x"}}\n</tool_call>',
    "two calls": '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>\n'
    '<tool_call>\n{"name": "now", "arguments": {"zone": "y"}}\n</tool_call>',
    "broken": "<tool_call>\n{'name': 'now', 'arguments': {'zone': True,}\n</tool_call>",
    "think": "<think>\nhm\n</think>\n\nYes.",
    "person": '{"name": "Ada", "age": 36} and more',
    "loop": "again and " * 200,
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a server that says what the words above ask for."""
    folder: Path = tmp_path_factory.mktemp("replies")
    (folder / "fake.json").write_text(json.dumps({"replies": REPLIES, "template": THINKING, "context": 2000}))
    with serving(folder / "fake.json", folder / "home") as base, httpx.Client(base_url=base, timeout=30) as client:
        yield client


def ask(client: httpx.Client, text: str, **more: Any) -> dict[str, Any]:
    answer = client.post(ROUTE, json=body(text, **more))
    assert answer.status_code == 200, answer.text
    whole: dict[str, Any] = answer.json()
    return whole


def choice(client: httpx.Client, text: str, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = ask(client, text, **more)["choices"][0]
    return found


def streamed(client: httpx.Client, text: str, **more: Any) -> tuple[dict[str, str], list[dict[str, Any]], str]:
    """The texts of a stream by their field, its calls, and its finish reason."""
    texts: dict[str, str] = {}
    calls: list[dict[str, Any]] = []
    finish = ""
    *chunks, end = events(client.post(ROUTE, json=body(text, stream=True, **more)))
    assert end == "[DONE]"
    for chunk in chunks:
        delta, finish = chunk["choices"][0]["delta"], chunk["choices"][0]["finish_reason"] or finish
        for field in ("content", "reasoning_content"):
            texts[field] = texts.get(field, "") + (delta.get(field) or "")
        for more_of in delta.get("tool_calls", []):
            if more_of["index"] == len(calls):
                calls.append({"id": more_of["id"], "name": more_of["function"]["name"], "arguments": ""})
            calls[more_of["index"]]["arguments"] += more_of["function"]["arguments"]
    return texts, calls, finish


def test_a_tool_call_comes_whole_and_streamed(client: httpx.Client) -> None:
    found = choice(client, "call", tools=[ADD, NOW])
    assert found["finish_reason"] == "tool_calls"
    assert found["message"]["content"] == "Wait."
    (call,) = found["message"]["tool_calls"]
    assert call["function"] == {"name": "now", "arguments": '{"zone": "x"}'}
    texts, calls, finish = streamed(client, "call", tools=[ADD, NOW])
    assert (texts["content"], finish) == ("Wait.", "tool_calls")
    assert [(one["name"], one["arguments"]) for one in calls] == [("now", '{"zone": "x"}')]


def test_calls_come_together_unless_one_is_to_come_at_a_time(client: httpx.Client) -> None:
    assert len(choice(client, "two calls", tools=[NOW])["message"]["tool_calls"]) == 2
    one = choice(client, "two calls", tools=[NOW], parallel_tool_calls=False)
    assert one["finish_reason"] == "tool_calls"
    assert [call["function"]["arguments"] for call in one["message"]["tool_calls"]] == ["{}"]
    _, calls, finish = streamed(client, "two calls", tools=[NOW], parallel_tool_calls=False)
    assert (len(calls), finish) == (1, "tool_calls")


def test_without_tools_or_with_none_a_call_is_text(client: httpx.Client) -> None:
    for more in ({}, {"tools": [NOW], "tool_choice": "none"}, {"tools": [ADD]}):
        found = choice(client, "call", **more)
        assert found["message"]["content"] == REPLIES["call"]
        assert found["finish_reason"] == "stop"


def test_a_call_with_broken_syntax_is_mended_and_says_so(client: httpx.Client) -> None:
    whole = ask(client, "broken", tools=[NOW])
    (call,) = whole["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"zone": True}
    assert whole["edgechat"]["guards"] == ["repair"]
    plain = ask(client, "broken", tools=[NOW], guards={"repair": False})
    assert plain["choices"][0]["message"]["content"] == REPLIES["broken"]


@pytest.mark.parametrize(
    ("tool_choice", "names"),
    [
        ("required", {"add", "now"}),
        ({"type": "function", "function": {"name": "add"}}, {"add"}),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "add"}}]},
            },
            {"add"},
        ),
    ],
)
def test_a_required_call_comes_whatever_the_model_would_say(
    client: httpx.Client, tool_choice: Any, names: set[str]
) -> None:
    asked = {"tools": [ADD, NOW], "tool_choice": tool_choice, "enable_thinking": False}
    (call,) = choice(client, "hello", **asked)["message"]["tool_calls"]
    assert call["function"]["name"] in names
    if call["function"]["name"] == "add":
        jsonschema.validate(json.loads(call["function"]["arguments"]), PERSON)
    _, (same,), finish = streamed(client, "hello", **asked)
    assert same["arguments"] == call["function"]["arguments"]
    assert finish == "tool_calls"


def test_results_are_fed_back(client: httpx.Client) -> None:
    found = choice(client, "call", tools=[NOW])["message"]
    turns = [
        {"role": "user", "content": "call"},
        found,
        {"role": "tool", "tool_call_id": found["tool_calls"][0]["id"], "content": "noon"},
    ]
    answer = client.post(ROUTE, json={"messages": turns, "tools": [NOW]}).json()
    assert answer["choices"][0]["message"]["content"] == "You said: <tool_response>\nnoon\n</tool_response>"


@pytest.mark.parametrize("text", ["hello", "person"])
def test_json_follows_its_schema(client: httpx.Client, text: str) -> None:
    found = choice(client, text, response_format=schema(PERSON))
    assert found["finish_reason"] == "stop"
    jsonschema.validate(json.loads(found["message"]["content"]), PERSON)
    texts, _, _ = streamed(client, text, response_format=schema(PERSON))
    assert texts["content"] == found["message"]["content"]
    assert isinstance(
        json.loads(choice(client, text, response_format={"type": "json_object"})["message"]["content"]), dict
    )
    elsewhere = choice(client, text, response_format={"type": "json_object", "schema": PERSON})
    assert elsewhere["message"]["content"] == found["message"]["content"]


def test_json_cut_off_is_closed_legally_and_says_so(client: httpx.Client) -> None:
    for limit in (1, 3, 9, 12):
        whole = ask(client, "person", response_format=schema(PERSON), max_tokens=limit)
        jsonschema.validate(json.loads(whole["choices"][0]["message"]["content"]), PERSON)
        assert whole["choices"][0]["finish_reason"] == "length"
        assert whole["edgechat"]["guards"] == ["close"]
    open_ = choice(client, "person", response_format=schema(PERSON), max_tokens=3, guards={"close": False})
    assert open_["message"]["content"] == '{"n'


def test_thinking_is_apart_from_the_answer(client: httpx.Client) -> None:
    whole = ask(client, "think")
    assert whole["choices"][0]["message"]["reasoning_content"] == "hm"
    assert whole["choices"][0]["message"]["content"] == "Yes."
    assert 0 < whole["usage"]["completion_tokens_details"]["reasoning_tokens"] < whole["usage"]["completion_tokens"]
    assert streamed(client, "think")[0] == {"content": "Yes.", "reasoning_content": "hm"}


@pytest.mark.parametrize(
    "more",
    [{"enable_thinking": False}, {"reasoning_effort": "none"}, {"chat_template_kwargs": {"enable_thinking": False}}],
)
def test_thinking_can_be_turned_off_where_the_template_has_a_switch(client: httpx.Client, more: dict[str, Any]) -> None:
    with_, without = ask(client, "hello"), ask(client, "hello", **more)
    assert without["usage"]["prompt_tokens"] > with_["usage"]["prompt_tokens"]  # the template's empty thoughts


def test_a_loop_is_ended_and_says_so(client: httpx.Client) -> None:
    whole = ask(client, "loop")
    assert whole["choices"][0]["finish_reason"] == "length"
    assert whole["edgechat"]["stop_reason"] == "loop"
    assert whole["edgechat"]["guards"] == ["loop"]
    free = ask(client, "loop", guards={"loop": False})
    assert free["edgechat"]["guards"] == ["cap"]
    assert free["usage"]["completion_tokens"] == 1024
    assert ask(client, "loop", guards={"loop": False, "cap": False})["usage"]["completion_tokens"] > 1024


def test_old_turns_are_dropped_or_refused(client: httpx.Client) -> None:
    turns = [{"role": role, "content": "word " * 20} for role in ("user", "assistant") * 20]
    turns.append({"role": "user", "content": "hello"})
    answer = client.post(ROUTE, json={"messages": turns, "max_tokens": 20}).json()
    assert answer["edgechat"]["dropped_messages"] > 0
    assert answer["choices"][0]["message"]["content"] == "You said: hello"
    refused = client.post(ROUTE, json={"messages": turns, "truncation": "disabled"})
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "context_length_exceeded"


def test_log_probabilities_cover_the_answer(client: httpx.Client) -> None:
    found = choice(client, "你好", logprobs=True, top_logprobs=2)
    content = found["logprobs"]["content"]
    assert bytes(byte for one in content for byte in one["bytes"]).decode() == found["message"]["content"]
    assert all(len(one["top_logprobs"]) == 2 and one["logprob"] <= 0 for one in content)
    chunks = events(client.post(ROUTE, json=body("你好", stream=True, logprobs=True, top_logprobs=2)))[:-1]
    scores = [one for chunk in chunks for one in (chunk["choices"][0]["logprobs"] or {"content": []})["content"]]
    assert scores == content
    assert choice(client, "你好", logprobs=True)["logprobs"]["content"][0]["top_logprobs"] == []
    assert choice(client, "你好")["logprobs"] is None


def test_several_answers_come_together(client: httpx.Client) -> None:
    whole = ask(client, "hello", n=3)
    assert [(one["index"], one["message"]["content"]) for one in whole["choices"]] == [
        (index, "You said: hello") for index in range(3)
    ]
    assert whole["edgechat"]["choices"] == [{"stop_reason": "eos", "guards": []}] * 3
    assert whole["usage"]["completion_tokens"] == 3 * 15
    assert whole["usage"]["total_tokens"] == whole["usage"]["prompt_tokens"] + 45
    *chunks, last, end = events(
        client.post(ROUTE, json=body("hello", n=3, stream=True, stream_options={"include_usage": True}))
    )
    assert end == "[DONE]"
    assert last["edgechat"]["choices"] == whole["edgechat"]["choices"]
    assert last["usage"] == whole["usage"] | {"prompt_tokens_details": last["usage"]["prompt_tokens_details"]}
    for index in range(3):
        mine = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["index"] == index]
        assert "".join(one["delta"].get("content") or "" for one in mine) == "You said: hello"
        assert mine[-1]["finish_reason"] == "stop"
