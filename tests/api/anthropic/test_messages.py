import json
from pathlib import Path
from typing import Any

import anthropic
import httpx
import pytest

from edgechat.api.anthropic.messages import tool_use
from edgechat.api.anthropic.wire import MessagesRequest
from edgechat.types import ToolCall
from tests.api.conftest import serving
from tests.conftest import FakeModel

ROUTE = "/v1/messages"
TOOL = {"name": "weather", "description": "now", "input_schema": {"type": "object", "properties": {}}}


def body(text: str = "hello", **more: Any) -> dict[str, Any]:
    return {"model": "", "max_tokens": 100, "messages": [{"role": "user", "content": text}], **more}


def events(answer: httpx.Response) -> list[tuple[str, Any]]:
    found = []
    for block in answer.text.split("\n\n"):
        lines = [line for line in block.splitlines() if not line.startswith(":")]
        if lines:
            found.append((lines[0].removeprefix("event: "), json.loads(lines[1].removeprefix("data: "))))
    return found


def test_a_whole_answer_has_anthropics_shape(client: httpx.Client) -> None:
    answer = client.post(ROUTE, json=body("你好")).json()
    assert (answer["type"], answer["role"]) == ("message", "assistant")
    assert answer["content"] == [{"type": "text", "text": "You said: 你好"}]
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("end_turn", None)
    assert answer["usage"]["output_tokens"] > 0
    assert answer["edgechat"]["stop_reason"] == "eos"


def test_a_stream_is_the_whole_answer_in_blocks(client: httpx.Client) -> None:
    answer = client.post(ROUTE, json=body("👋🏽", stream=True))
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    said = events(answer)
    assert all(name == data["type"] for name, data in said)
    names = [name for name, _ in said]
    assert names[:3] == ["message_start", "ping", "content_block_start"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    text = "".join(data["delta"]["text"] for name, data in said if name == "content_block_delta")
    assert text == "You said: 👋🏽"
    assert said[-2][1]["delta"]["stop_reason"] == "end_turn"
    assert said[-2][1]["usage"]["output_tokens"] > 0
    assert said[-2][1]["edgechat"]["stop_reason"] == "eos"


def test_a_stream_begins_with_the_prompts_true_counts(client: httpx.Client) -> None:
    for _ in range(2):  # unread, then from the cache
        asked = body("how many tokens are these?", stream=True)
        said = events(client.post(ROUTE, json=asked))
        first, last = said[0][1]["message"]["usage"], said[-2][1]["usage"]
        assert first == last | {"output_tokens": 0}
        counted = client.post(f"{ROUTE}/count_tokens", json=asked).json()["input_tokens"]
        assert first["input_tokens"] + first["cache_read_input_tokens"] == counted


def test_a_long_prompt_is_read_with_pings(fake_model: FakeModel, tmp_path: Path) -> None:
    """Its clients give up on a connection that has comments only."""
    with serving(fake_model(step_ms=300), tmp_path / "home") as base:
        answer = httpx.post(f"{base}{ROUTE}", json=body("a" * 1500, stream=True, max_tokens=2), timeout=60)
    names = [name for name, _ in events(answer)]
    assert names[:3] == ["message_start", "ping", "ping"]
    assert ": prefill" in answer.text


def test_the_length_limit_is_max_tokens(client: httpx.Client) -> None:
    assert client.post(ROUTE, json=body(max_tokens=3)).json()["stop_reason"] == "max_tokens"


def test_the_stop_sequence_that_was_met_is_named(client: httpx.Client) -> None:
    answer = client.post(ROUTE, json=body("one two three", stop_sequences=["nine", "two"])).json()
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", "two")
    assert answer["content"][0]["text"] == "You said: one "


def test_max_tokens_and_model_may_be_left_out(client: httpx.Client) -> None:
    assert client.post(ROUTE, json={"messages": [{"role": "user", "content": "x"}]}).status_code == 200


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"stop_sequence": []}, "stop_sequence"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 1.1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 1.1}, "top_p"),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"stop_sequences": [""]}, "stop_sequences.0"),
        ({"mcp_servers": [{}]}, "mcp_servers"),
        ({"container": "c"}, "container"),
        ({"tools": [{"type": "function", "function": {"name": "w"}}]}, "tools.0.type"),
        ({"tools": [{"name": "w"}]}, "tools.0.input_schema"),
        (
            {
                "tools": [{"type": "web_search_20250305", "name": "w"}, TOOL],
                "tool_choice": {"type": "tool", "name": "w"},
            },
            "tool_choice.name",
        ),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}], "tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": [TOOL | {"name": "a b"}]}, "tools.0.name"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": [TOOL, TOOL]}, "tools"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "x"}]}]},
            "messages",
        ),
        ({"tool_choice": {"type": "tool", "name": "x"}, "tools": [TOOL]}, "tool_choice.name"),
        ({"tool_choice": {"type": "tool"}, "tools": [TOOL]}, "tool_choice.name"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "thinking.budget_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "assistant", "content": "Once"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "messages.0.content.0.source"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_use", "id": "1", "name": "n", "input": {}}]}]},
            "messages.0.content.0",
        ),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_what_is_not_honoured_is_refused_by_name(client: httpx.Client, more: dict[str, Any], param: str) -> None:
    answer = client.post(ROUTE, json=body() | more)
    assert answer.status_code == 400
    refusal = answer.json()
    assert (refusal["type"], refusal["error"]["type"]) == ("error", "invalid_request_error")
    assert refusal["error"]["param"] == param
    assert param.split(".")[-1] in refusal["error"]["message"]
    assert refusal["request_id"] == answer.headers["request-id"]


def test_neutral_and_inert_parameters_are_accepted(client: httpx.Client) -> None:
    cached = {"type": "text", "text": "be kind", "cache_control": {"type": "ephemeral"}}
    more: dict[str, Any] = {
        "system": [cached],
        "service_tier": "auto",
        "mcp_servers": [],
        "container": None,
        "metadata": {"user_id": "u"},
    }
    assert client.post(ROUTE, json=body(**more)).status_code == 200


def test_turns_become_messages() -> None:
    turns = [
        {"role": "user", "content": "weather?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Paris"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "18", "is_error": True},
                {"type": "text", "text": "And tomorrow?"},
            ],
        },
    ]
    choice = {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}
    asked = MessagesRequest.model_validate(
        {
            "messages": turns,
            "system": "be kind",
            "tools": [TOOL],
            "tool_choice": choice,
            "thinking": {"type": "disabled"},
        }
    ).asked()
    system, first, second, result, last = asked.messages
    assert (system.role, system.text, first.text) == ("system", "be kind", "weather?")
    assert (second.reasoning, second.text) == ("hm", "I look.")
    assert second.tool_calls == (ToolCall("c1", "weather", '{"city":"Paris"}'),)
    assert (result.role, result.text, result.tool_call_id, result.name) == ("tool", "Error: 18", "c1", "weather")
    assert (last.role, last.text) == ("user", "And tomorrow?")
    assert (asked.tool_choice, asked.tool_names, asked.parallel_tool_calls) == ("required", ("weather",), False)
    assert asked.thinking is False


def test_arguments_that_were_cut_off_are_passed_on_as_text() -> None:
    assert tool_use(ToolCall("c", "f", '{"a": 1}'))["input"] == {"a": 1}
    assert tool_use(ToolCall("c", "f", '{"a": '))["input"] == {"INVALID_JSON": '{"a": '}


@pytest.mark.parametrize(("stream", "status"), [(False, 503), (True, 200)])
def test_a_failure_in_the_answer_is_an_error_and_no_false_end(
    fake_model: FakeModel, tmp_path: Path, stream: bool, status: int
) -> None:
    with serving(fake_model(fail_at=3), tmp_path / "home") as base:
        answer = httpx.post(f"{base}{ROUTE}", json=body(stream=stream), timeout=10)
    assert answer.status_code == status
    error = events(answer)[-1][1] if stream else answer.json()
    assert (error["type"], error["error"]["code"]) == ("error", "engine_failed")
    assert "message_stop" not in answer.text


def test_the_official_client_works(client: httpx.Client) -> None:
    turns: Any = [{"role": "user", "content": "hi"}]
    with anthropic.Anthropic(base_url=str(client.base_url), api_key="none", max_retries=0) as official:
        whole = official.messages.create(model="", max_tokens=50, messages=turns)
        assert whole.content[0].text == "You said: hi"
        with official.messages.stream(model="", max_tokens=50, messages=turns) as stream:
            assert "".join(stream.text_stream) == "You said: hi"
            final = stream.get_final_message()
        assert final.usage.output_tokens == whole.usage.output_tokens
        assert final.stop_reason == "end_turn"
        with pytest.raises(anthropic.NotFoundError):
            official.messages.create(model="claude", max_tokens=50, messages=turns)
        with pytest.raises(anthropic.BadRequestError, match="temperature") as refused:
            official.messages.create(model="", max_tokens=50, messages=turns, extra_body={"temperature": 2})
        assert refused.value.request_id


def test_tokens_are_counted_as_they_would_be_read(client: httpx.Client) -> None:
    asked = {"messages": body()["messages"], "system": "be kind", "tools": [TOOL]}
    counted = client.post(f"{ROUTE}/count_tokens", json=asked)
    answer = client.post(ROUTE, json=asked).json()["usage"]
    assert counted.json() == {"input_tokens": answer["input_tokens"] + answer["cache_read_input_tokens"]}
    long = client.post(f"{ROUTE}/count_tokens", json=body("x" * 5000))
    assert long.json()["error"]["code"] == "context_length_exceeded"
    with anthropic.Anthropic(base_url=str(client.base_url), api_key="none", max_retries=0) as official:
        assert official.messages.count_tokens(model="", messages=body()["messages"]).input_tokens > 5
