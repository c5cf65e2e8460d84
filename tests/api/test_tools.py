"""What a tool said reaches the model's template under the tool's name, in every dialect."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgechat.api.tools import past_arguments
from tests.api.conftest import serving

# Tells all results, each under its tool's name, where the fake engine looks for what it echoes.
TEMPLATE = (
    "{% if tools %}<tool_call>{% endif %}<|im_start|>user\n"
    "{% for m in messages if m.role == 'tool' %}{{ m.name }} says {{ m.content }}. {% endfor %}<|im_end|>\n"
)
TOLD = "You said: clock says noon. weather says 18. "
FUNCTION = {"type": "object", "properties": {}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("tools")
    (folder / "fake.json").write_text(json.dumps({"template": TEMPLATE}))
    with serving(folder / "fake.json", folder / "home") as base:
        yield base


def openai(results: list[tuple[str, str]]) -> tuple[str, dict[str, Any]]:
    calls = [{"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}} for id, name in CALLS]
    said = [{"role": "tool", "tool_call_id": id, "content": text} for id, text in results]
    messages = [{"role": "user", "content": "Well?"}, {"role": "assistant", "tool_calls": calls}, *said]
    return "/v1/chat/completions", {"messages": messages}


def anthropic(results: list[tuple[str, str]]) -> tuple[str, dict[str, Any]]:
    calls = [{"type": "tool_use", "id": id, "name": name, "input": {}} for id, name in CALLS]
    said = [{"type": "tool_result", "tool_use_id": id, "content": text} for id, text in results]
    turns = [("user", "Well?"), ("assistant", calls), ("user", said)]
    return "/v1/messages", {"max_tokens": 100, "messages": [{"role": role, "content": what} for role, what in turns]}


def responses(results: list[tuple[str, str]]) -> tuple[str, dict[str, Any]]:
    calls = [{"type": "function_call", "call_id": id, "name": name, "arguments": "{}"} for id, name in CALLS]
    said = [{"type": "function_call_output", "call_id": id, "output": text} for id, text in results]
    return "/v1/responses", {"input": [{"role": "user", "content": "Well?"}, *calls, *said]}


def ollama(results: list[tuple[str, str]]) -> tuple[str, dict[str, Any]]:
    calls = [{"id": id, "function": {"name": name, "arguments": {}}} for id, name in CALLS]
    said = [{"role": "tool", "tool_call_id": id, "content": text} for id, text in results]
    messages = [{"role": "user", "content": "Well?"}, {"role": "assistant", "tool_calls": calls}, *said]
    return "/api/chat", {"messages": messages, "stream": False}


def ollama_by_tool(results: list[tuple[str, str]]) -> tuple[str, dict[str, Any]]:
    calls = [{"function": {"name": name, "arguments": {}}} for _, name in CALLS]
    said = [{"role": "tool", "tool_name": dict(CALLS)[id], "content": text} for id, text in results]
    messages = [{"role": "user", "content": "Well?"}, {"role": "assistant", "tool_calls": calls}, *said]
    return "/api/chat", {"messages": messages, "stream": False}


CALLS = [("c1", "weather"), ("c2", "clock")]


@pytest.mark.parametrize("dialect", [openai, anthropic, responses, ollama, ollama_by_tool])
def test_a_result_carries_the_name_of_its_tool(server: str, dialect: Any) -> None:
    path, body = dialect([("c2", "noon"), ("c1", "18")])
    answer = httpx.post(f"{server}{path}", json=body, timeout=20)
    assert answer.status_code == 200, answer.text
    assert TOLD in answer.text


def asked_before(path: str, arguments: Any) -> dict[str, Any]:
    """A conversation with a call of these arguments in it."""
    if path == "/v1/messages":
        use = {"type": "tool_use", "id": "c1", "name": "clock", "input": arguments}
        result = {"type": "tool_result", "tool_use_id": "c1", "content": "noon"}
        turns: list[Any] = [("user", "Well?"), ("assistant", [use]), ("user", [result])]
        return {"max_tokens": 50, "messages": [{"role": role, "content": content} for role, content in turns]}
    if path == "/v1/responses":
        call = {"type": "function_call", "call_id": "c1", "name": "clock", "arguments": arguments}
        result = {"type": "function_call_output", "call_id": "c1", "output": "noon"}
        return {"input": [{"role": "user", "content": "Well?"}, call, result]}
    function = {"id": "c1", "type": "function", "function": {"name": "clock", "arguments": arguments}}
    turns = [
        {"role": "user", "content": "Well?"},
        {"role": "assistant", "content": None, "tool_calls": [function]},
        {"role": "tool", "tool_call_id": "c1", "content": "noon"},
    ]
    return {"messages": turns, "stream": False}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/chat"])
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("", "{}"),
        ("{}", "{}"),
        ('{"zone":"UTC"}', '{"zone":"UTC"}'),
        (' {"a": 1}', ' {"a": 1}'),
        ('"{\\"zone\\": \\"UTC\\"}"', '{"zone": "UTC"}'),
        ('{"zone": ', '{"INVALID_JSON": "{\\"zone\\": "}'),
        ('["Beijing"]', '{"INVALID_JSON": "[\\"Beijing\\"]"}'),
        ("null", "{}"),
        ("[" * 900, None),
        (None, None),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_bad_call_in_the_past_loses_nobody_the_conversation(
    client: httpx.Client, path: str, arguments: Any, told: str | None
) -> None:
    assert client.post(path, json=asked_before(path, arguments)).status_code == 200
    if told is not None:
        assert past_arguments(arguments) == told


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose model calls with half an emoji, as one does that is cut off in the middle of its escape."""
    folder: Path = tmp_path_factory.mktemp("caller")
    reply = '<tool_call>\n{"name": "clock", "arguments": {"zone": "\\ud83d"}}\n</tool_call>'
    template = (
        "{% if tools %}<tool_call>{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
        "{% for call in m.tool_calls or [] %}{{ call.function.arguments | tojson }}{% endfor %}<|im_end|>\n{% endfor %}"
    )
    (folder / "fake.json").write_text(json.dumps({"reply": reply, "template": template}))
    with serving(folder / "fake.json", folder / "home") as base:
        yield base


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/chat"])
@pytest.mark.parametrize("stream", [False, True])
def test_half_a_character_in_a_call_is_replaced_and_ends_no_worker(caller: str, path: str, stream: bool) -> None:
    function = {"name": "clock", "parameters": FUNCTION}
    tool: dict[str, Any] = {"type": "function", "function": function}
    if path == "/v1/responses":
        tool = {"type": "function", **function}
    elif path == "/v1/messages":
        tool = {"name": "clock", "input_schema": FUNCTION}
    given: Any = {"zone": "x"} if path in ("/v1/messages", "/api/chat") else '{"zone": "\\ud83d"}'
    body = asked_before(path, given) | {"tools": [tool], "stream": stream}
    body |= {"max_tokens": 200} if path == "/v1/messages" else {}
    answer = httpx.post(f"{caller}{path}", json=body, timeout=20)
    assert answer.status_code == 200, answer.text
    assert "clock" in answer.text
    assert "\ufffd" in answer.text
