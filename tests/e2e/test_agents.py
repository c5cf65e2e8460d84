"""What agents ask of tools, by the official client on a real model: several tools, nested and Chinese arguments.

A small model's choice is its own; what is held here is the server's part: every call names a tool, its arguments follow
that tool's schema, streamed is what is whole, and a conversation with calls and results goes on.
`make test` takes a sample; EDGECHAT_TORTURE=1 takes all combinations.
"""

import json
import os
from typing import Any

import jsonschema
import openai
import pytest

TORTURE = bool(os.environ.get("EDGECHAT_TORTURE"))

pytestmark = pytest.mark.model


def tool(name: str, description: str, properties: dict[str, Any]) -> dict[str, Any]:
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"name": name, "description": description, "parameters": parameters}


FUNCTIONS = (
    tool("get_weather", "The weather in a city now", {"city": {"type": "string"}}),
    tool(
        "book_table",
        "Book a table in a restaurant",
        {
            "restaurant": {"type": "string"},
            "party": {
                "type": "object",
                "properties": {
                    "size": {"type": "integer", "minimum": 1, "maximum": 20},
                    "names": {"type": "array", "items": {"type": "string"}, "maxItems": 4},
                },
                "required": ["size", "names"],
                "additionalProperties": False,
            },
            "meal": {"enum": ["lunch", "dinner"]},
        },
    ),
    tool("search_notes", "在笔记中查找一个词", {"query": {"type": "string"}}),
)
SCHEMAS = {function["name"]: function["parameters"] for function in FUNCTIONS}
ASKED = {
    "weather": "What is the weather in Paris? Use a tool.",
    "two at once": "Tell me the weather in Paris and in Rome. Use the tool for both.",
    "nested": "Book a table at Chez Nous for dinner, for Ann and Bob.",
    "中文": "请在我的笔记里查找“红茶”。",
}
NAMED = {"type": "function", "function": {"name": "book_table"}}
CHOICES: dict[str, Any] = {"auto": "auto", "required": "required", "named": NAMED, "none": "none"}
ALL = [(asked, choice, strict) for asked in ASKED for choice in CHOICES for strict in (False, True)]
SAMPLE = [("nested", "named", False), ("中文", "auto", True)]


@pytest.mark.parametrize(("asked", "choice", "strict"), ALL if TORTURE else SAMPLE)
def test_calls_are_whole_and_a_conversation_with_them_goes_on(
    official: openai.OpenAI, asked: str, choice: str, strict: bool
) -> None:
    tools = [{"type": "function", "function": {**function, "strict": strict}} for function in FUNCTIONS]
    common: Any = {"model": "", "tools": tools, "temperature": 0, "max_tokens": 120 if TORTURE else 60}
    turns: list[Any] = [{"role": "user", "content": ASKED[asked]}]
    official.chat.completions.create(messages=turns, tool_choice=CHOICES[choice], **common | {"max_tokens": 1})
    whole = official.chat.completions.create(messages=turns, tool_choice=CHOICES[choice], **common)
    calls = checked(whole.choices[0], choice, guided=strict or choice in ("required", "named"))
    chunks = official.chat.completions.create(messages=turns, tool_choice=CHOICES[choice], stream=True, **common)
    assert put_together(chunks) == (whole.choices[0].message.content or "", [*map(as_pair, calls)], finish_of(whole))
    if calls and finish_of(whole) == "tool_calls":
        turns.append(whole.choices[0].message)
        turns += [{"role": "tool", "tool_call_id": one.id, "content": "18 °C，下雨"} for one in calls]
        told = official.chat.completions.create(messages=turns, tool_choice="none", **common).choices[0].message
        assert told.content and not told.tool_calls
        again = official.chat.completions.create(messages=turns, tool_choice="auto", **common).choices[0]
        checked(again, "auto", guided=strict)


def checked(choice: Any, asked: str, guided: bool) -> list[Any]:
    """The calls of an answer, each of them held to its tool's schema where a grammar held the model to it."""
    calls: list[Any] = choice.message.tool_calls or []
    assert bool(calls) or asked in ("auto", "none")
    assert not calls or asked != "none"
    if choice.finish_reason == "length":
        calls = calls[:-1]  # the last one may have been cut
    else:
        assert choice.finish_reason == ("tool_calls" if calls else "stop")
    for call in calls:
        assert asked != "named" or call.function.name == "book_table"
        arguments = json.loads(call.function.arguments)
        if guided:
            jsonschema.validate(arguments, SCHEMAS[call.function.name])
    assert len({call.id for call in calls}) == len(calls)
    return list(choice.message.tool_calls or [])


def put_together(chunks: Any) -> tuple[str, list[tuple[str, str]], str]:
    """The text, the calls and the finish reason of a stream."""
    text, finish = "", ""
    calls: list[tuple[str, str]] = []
    for chunk in chunks:
        (choice,) = chunk.choices
        text, finish = text + (choice.delta.content or ""), choice.finish_reason or finish
        for more in choice.delta.tool_calls or []:
            if more.index == len(calls):
                calls.append((more.function.name, ""))
            name, arguments = calls[more.index]
            calls[more.index] = name, arguments + more.function.arguments
    return text, calls, finish


def as_pair(call: Any) -> tuple[str, str]:
    """A call's name and arguments."""
    return call.function.name, call.function.arguments


def finish_of(answer: Any) -> str:
    reason: str = answer.choices[0].finish_reason
    return reason
