"""Stop strings are about what is said: not what is thought, not calls, not JSON of a schema; in every dialect."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.conftest import serving

TEMPLATE = (
    "{% if tools %}<tool_call>{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    "{% endfor %}<|im_start|>assistant\n{% if enable_thinking is defined %}<think></think>{% endif %}"
)
CALL = '<tool_call>\n{"name": "save", "arguments": {"text": "a: b"}}\n</tool_call>'
REPLIES = {"think": "<think>\none\n\ntwo\n</think>\n\nBlue: sky.", "call": f"Well. {CALL}", "half": "Well <tool_"}
PARAMETERS = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
CITY = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 4}}, "required": ["city"]}


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder: Path = tmp_path_factory.mktemp("thinker")
    (folder / "fake.json").write_text(json.dumps({"template": TEMPLATE, "replies": REPLIES}))
    with serving(folder / "fake.json", folder / "home") as base, httpx.Client(base_url=base, timeout=20) as client:
        yield client


def chat(client: httpx.Client, text: str, stop: list[str], tools: bool) -> tuple[str, list[Any]]:
    function = {"type": "function", "function": {"name": "save", "parameters": PARAMETERS}}
    more = {"tools": [function]} if tools else {}
    body = {"messages": [{"role": "user", "content": text}], "stop": stop, **more}
    message = client.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]
    return message["content"] or "", [json.loads(one["function"]["arguments"]) for one in message.get("tool_calls", ())]


def messages(client: httpx.Client, text: str, stop: list[str], tools: bool) -> tuple[str, list[Any]]:
    more = {"tools": [{"name": "save", "input_schema": PARAMETERS}]} if tools else {}
    body = {"messages": [{"role": "user", "content": text}], "stop_sequences": stop, **more}
    content = client.post("/v1/messages", json=body).json()["content"]
    said = "".join(block["text"] for block in content if block["type"] == "text")
    return said, [block["input"] for block in content if block["type"] == "tool_use"]


def ollama(client: httpx.Client, text: str, stop: list[str], tools: bool) -> tuple[str, list[Any]]:
    more = {"tools": [{"function": {"name": "save", "parameters": PARAMETERS}}]} if tools else {}
    body = {"messages": [{"role": "user", "content": text}], "options": {"stop": stop}, "stream": False, **more}
    message = client.post("/api/chat", json=body).json()["message"]
    return message["content"], [one["function"]["arguments"] for one in message.get("tool_calls", ())]


@pytest.mark.parametrize("ask", [chat, messages, ollama])
def test_a_stop_string_in_the_thoughts_ends_nothing(thinker: httpx.Client, ask: Any) -> None:
    for stop in (["\n\n"], ["two"], ["think>"]):
        assert ask(thinker, "think", stop, False) == ("Blue: sky.", [])
    assert ask(thinker, "think", ["two", ":"], False) == ("Blue", [])


@pytest.mark.parametrize("ask", [chat, messages, ollama])
def test_a_stop_string_in_a_call_cuts_nothing(thinker: httpx.Client, ask: Any) -> None:
    for stop in ([":"], ["save"], ["tool_call"], ["}"]):
        assert ask(thinker, "call", stop, True) == ("Well.", [{"text": "a: b"}])
    assert ask(thinker, "call", ["ell"], True) == ("W", [])


def test_what_only_looks_like_the_beginning_of_a_stop_string_is_said_before_a_call(thinker: httpx.Client) -> None:
    assert chat(thinker, "call", ["ll. and"], True) == ("Well.", [{"text": "a: b"}])
    assert chat(thinker, "half", ["<tool_calls"], True) == ("Well <tool_", [])


@pytest.mark.parametrize("stop", [":", '"', "}", "city"])
def test_json_of_a_schema_is_whole_and_says_that_nothing_stops_it(client: httpx.Client, stop: str) -> None:
    turns = [{"role": "user", "content": "A city."}]
    schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": CITY}}
    asked: list[tuple[str, dict[str, Any], str]] = [
        ("/v1/chat/completions", {"response_format": schema, "stop": stop}, "stop"),
        (
            "/v1/messages",
            {"output_config": {"format": {"type": "json_schema", "schema": CITY}}, "stop_sequences": [stop]},
            "stop_sequences",
        ),
        ("/api/chat", {"format": CITY, "options": {"stop": [stop]}, "stream": False}, "options.stop"),
    ]
    for path, more, name in asked:
        answer = client.post(path, json={"messages": turns, **more}).json()
        message = answer["choices"][0]["message"] if "choices" in answer else answer.get("message", answer)
        text = message["content"] if isinstance(message["content"], str) else message["content"][0]["text"]
        assert set(json.loads(text)) >= {"city"}
        assert answer["edgechat"]["ignored"] == [name]


def test_more_stops_than_four_are_taken(client: httpx.Client) -> None:
    stops = [f"x{at}" for at in range(31)]
    body = {"messages": [{"role": "user", "content": "one two"}], "stop": [*stops, "two"]}
    assert client.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"] == "You said: one "
    assert client.post("/v1/chat/completions", json=body | {"stop": [*stops, "y", "z"]}).status_code == 400
