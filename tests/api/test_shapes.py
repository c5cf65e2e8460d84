"""Shapes that mean the same: nothing in all its spellings, whole numbers with a point, hints beside orders."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgechat.api.anthropic.wire import MessagesRequest
from edgechat.api.ollama.wire import ChatRequest as OllamaRequest
from edgechat.api.openai.wire import ChatRequest
from edgechat.api.responses.wire import ResponsesRequest
from edgechat.api.tools import UNREADABLE, past_arguments
from edgechat.types import Sampling
from tests.api.conftest import serving

CHAT, MESSAGES, RESPONSES, OLLAMA = "/v1/chat/completions", "/v1/messages", "/v1/responses", "/api/chat"
HI = {"role": "user", "content": "Hi"}
CITY = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 4}}, "required": ["city"]}
NOW = {"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}
SWITCH = (
    "{% for m in messages %}{{ m.content }}\n{% endfor %}<|im_start|>user\n"
    "{% if enable_thinking is defined and enable_thinking %}on{% else %}off{% endif %}<|im_end|>\n{# <think> #}"
)


@pytest.mark.parametrize("nothing", ["", " ", "\n", "null", "{}", '""', '"null"', '" "', [], {}])
def test_no_arguments_are_an_empty_object_however_they_are_spelled(nothing: Any) -> None:
    assert json.loads(past_arguments(nothing)) == {}


@pytest.mark.parametrize(
    "cut", ['{"zone": ', "[1]", "true", "{'a': 1}", "[" * 100_000, '{"a":' + "9" * 5000 + "}", [1]]
)
def test_what_is_no_object_is_passed_on_as_the_text_it_is(cut: Any) -> None:
    assert UNREADABLE in json.loads(past_arguments(cut))


EVERY: list[Any] = ["", " ", "null", None, {}, {"zone": "UTC"}, [], '{"zone": ', '{"a": "\\ud83d"}', '{"a": NaN}']
ROUNDS: list[tuple[str, Any]] = [
    (
        CHAT,
        lambda arguments: {
            "messages": [
                HI,
                {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "now", "arguments": arguments}}]},
                {"role": "tool", "tool_call_id": "c", "content": "12:00"},
            ]
        },
    ),
    (
        RESPONSES,
        lambda arguments: {
            "input": [
                HI,
                {"type": "function_call", "call_id": "c", "name": "now", "arguments": arguments},
                {"type": "function_call_output", "call_id": "c", "output": "12:00"},
            ]
        },
    ),
    (
        MESSAGES,
        lambda arguments: {
            "messages": [
                HI,
                {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "now", "input": arguments}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c"}]},
            ]
        },
    ),
    (
        OLLAMA,
        lambda arguments: {
            "messages": [
                HI,
                {"role": "assistant", "tool_calls": [{"function": {"name": "now", "arguments": arguments}}]},
                {"role": "tool", "name": "now", "content": "12:00"},
            ],
            "stream": False,
        },
    ),
]


@pytest.mark.parametrize(("path", "told"), ROUNDS, ids=[path for path, _ in ROUNDS])
def test_a_past_call_is_read_whatever_became_of_its_arguments(client: httpx.Client, path: str, told: Any) -> None:
    for arguments in EVERY:
        answer = client.post(path, json=told(arguments))
        assert answer.status_code == 200, (arguments, answer.text)


def test_calls_that_are_none_are_named_and_not_the_content_beside_them(client: httpx.Client) -> None:
    calls = [{"id": "c", "function": {"name": "now", "arguments": 5}}]
    refused = client.post(CHAT, json={"messages": [HI, {"role": "assistant", "content": None, "tool_calls": calls}]})
    assert refused.json()["error"]["param"] == "messages.1.tool_calls.0.function.arguments"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"messages": [HI], "max_tokens": 4.0, "top_k": 40.0, "seed": 1.0, "n": 1.0}),
        (CHAT, {"messages": [HI], "top_k": -1}),
        ("/v1/completions", {"prompt": "Hi", "max_tokens": 4.0, "logprobs": 0.0}),
        (RESPONSES, {"input": "Hi", "max_output_tokens": 4.0}),
        (MESSAGES, {"messages": [HI], "max_tokens": 4.0, "top_k": -1}),
        (OLLAMA, {"messages": [HI], "options": {"num_predict": 4.0, "top_k": -1, "seed": -1.0}}),
        (OLLAMA, {"messages": [HI], "options": {"num_predict": -1.0, "repeat_last_n": 0}}),
        (CHAT, {"messages": [HI | {"name": ""}]}),
        (CHAT, {"messages": [HI, {"role": "assistant", "content": "Hello.", "refusal": "", "tool_call_id": ""}, HI]}),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]}),
        (CHAT, {"messages": [HI], "tools": [{"function": NOW["function"]}]}),
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_what_forms_send_asks_for_nothing_and_nothing_is_told(
    client: httpx.Client, path: str, body: dict[str, Any]
) -> None:
    answer = client.post(path, json=body | {"stream": False})
    assert answer.status_code == 200, answer.text
    assert answer.json()["edgechat"]["ignored"] == []


def test_a_number_with_a_fraction_is_no_whole_one(client: httpx.Client) -> None:
    assert client.post(CHAT, json={"messages": [HI], "max_tokens": 4.5}).status_code == 400


def test_every_way_to_say_all_of_them_turns_top_k_off() -> None:
    for none in (0, -1, -1.0):
        asked = ChatRequest.model_validate({"messages": [HI], "top_k": none}).generation(Sampling(top_k=40))
        assert asked.sampling.top_k == 0


def test_penalties_that_look_back_at_nothing_are_off() -> None:
    options = {"repeat_last_n": 0.0, "repeat_penalty": 1.3, "presence_penalty": 1.0}
    asked = OllamaRequest.model_validate({"messages": [HI], "options": options}).generation(Sampling())
    assert (asked.sampling.repetition_penalty, asked.sampling.presence_penalty) == (1.0, 0.0)


def test_a_refusal_is_what_the_assistant_said() -> None:
    part = {"type": "refusal", "refusal": "I may not."}
    for said in ({"content": None, "refusal": "I may not."}, {"content": [part]}):
        asked = ChatRequest.model_validate({"messages": [HI, {"role": "assistant"} | said, HI]})
        assert asked.messages[1].value().text == "I may not."
    turn = {"type": "message", "role": "assistant", "content": [part]}
    body = ResponsesRequest.model_validate({"input": [HI, turn, HI]})
    items = [item for item in body.input if item.type == "message"]
    assert body.generation(Sampling(), items).messages[1].text == "I may not."


def test_what_anthropics_own_models_left_in_a_conversation_is_passed_over(client: httpx.Client) -> None:
    said = [{"type": "redacted_thinking", "data": "x"}, {"type": "tool_use", "id": "t", "name": "find"}]
    found = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "tool_reference", "tool_name": "now"}]}
    turns = [HI, {"role": "assistant", "content": said}, {"role": "user", "content": [found]}]
    answer = client.post(MESSAGES, json={"messages": turns})
    assert answer.status_code == 200, answer.text
    ignored = answer.json()["edgechat"]["ignored"]
    assert ignored == ["messages.1.content.0.data", "messages.2.content.0.content.0.tool_name"]


def test_a_schema_is_followed_under_its_older_name(client: httpx.Client) -> None:
    asked = {"messages": [HI], "output_format": {"type": "json_schema", "schema": CITY}, "stop_sequences": [":"]}
    answer = client.post(MESSAGES, json=asked).json()
    assert "city" in json.loads(answer["content"][0]["text"])
    assert answer["edgechat"]["ignored"] == ["stop_sequences"]


def test_results_find_their_calls_by_the_older_name_too() -> None:
    calls = [{"function": {"name": name}} for name in ("now", "weather")]
    results = [{"role": "tool", "name": name, "content": name} for name in ("weather", "now")]
    body = OllamaRequest.model_validate({"messages": [HI, {"role": "assistant", "tool_calls": calls}, *results]})
    asked = body.generation(Sampling()).messages
    ids = {call.name: call.id for call in asked[1].tool_calls}
    assert [(turn.name, turn.tool_call_id) for turn in asked[2:]] == [
        ("weather", ids["weather"]),
        ("now", ids["now"]),
    ]


# ── thinking ──


@pytest.fixture(scope="module")
def switch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a model that can think, and does not unless it is told to; it says which."""
    folder: Path = tmp_path_factory.mktemp("switch")
    (folder / "fake.json").write_text(json.dumps({"template": SWITCH}))
    with serving(folder / "fake.json", folder / "home") as base, httpx.Client(base_url=base, timeout=20) as client:
        yield client


WISHES: list[tuple[str, dict[str, Any], bool]] = [
    (CHAT, {"messages": [HI]}, False),
    *((CHAT, {"messages": [HI], "reasoning_effort": effort}, True) for effort in ("minimal", "low", "medium", "max")),
    (CHAT, {"messages": [HI], "reasoning_effort": "none"}, False),
    (CHAT, {"messages": [HI], "reasoning_effort": "high", "enable_thinking": False}, False),
    (RESPONSES, {"input": "Hi", "reasoning": {"effort": "medium"}}, True),
    (RESPONSES, {"input": "Hi", "reasoning": {"effort": "none"}}, False),
    (RESPONSES, {"input": "Hi", "reasoning": {"summary": "auto"}}, False),
    (MESSAGES, {"messages": [HI], "thinking": {"type": "enabled", "budget_tokens": 2048}}, True),
    (MESSAGES, {"messages": [HI], "thinking": {"type": "adaptive"}}, False),
    (OLLAMA, {"messages": [HI], "think": True, "stream": False}, True),
    (OLLAMA, {"messages": [HI], "think": "low", "stream": False}, True),
    (OLLAMA, {"messages": [HI], "think": False, "stream": False}, False),
]


@pytest.mark.parametrize(("path", "body", "thinks"), WISHES, ids=[json.dumps(body)[-60:] for _, body, _ in WISHES])
def test_whoever_asks_a_model_to_think_is_heard(
    switch: httpx.Client, path: str, body: dict[str, Any], thinks: bool
) -> None:
    answer = switch.post(path, json=body)
    assert answer.status_code == 200, answer.text
    assert ("You said: on" in answer.text, "You said: off" in answer.text) == (thinks, not thinks)


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        (CHAT, {"messages": [HI], "reasoning_effort": "medium"}, ["reasoning_effort"]),
        (CHAT, {"messages": [HI], "reasoning_effort": "high"}, ["reasoning_effort"]),
        (RESPONSES, {"input": "Hi", "reasoning": {"effort": "medium"}}, ["reasoning.effort"]),
        (MESSAGES, {"messages": [HI], "thinking": {"type": "enabled", "budget_tokens": 2048}}, ["thinking"]),
    ],
)
def test_a_hint_to_think_costs_nobody_the_answer_of_a_model_that_cannot(
    client: httpx.Client, path: str, body: dict[str, Any], told: list[str]
) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["edgechat"]["ignored"] == told


@pytest.mark.parametrize("more", [{"think": True}, {"think": "high"}])
def test_an_order_to_think_is_refused_in_ollamas_words(client: httpx.Client, more: dict[str, Any]) -> None:
    refused = client.post(OLLAMA, json={"messages": [HI]} | more)
    assert (refused.status_code, "does not support thinking" in refused.json()["error"]) == (400, True)


def test_thinking_is_a_hint_in_messages_only_where_it_is_wished() -> None:
    body = {"messages": [HI], "thinking": {"type": "disabled"}}
    assert MessagesRequest.model_validate(body).generation(Sampling()).thinking is False
