"""The official openai client against a real model: chat, stream, tools, structured output."""

import json
from typing import Any, Literal

import openai
import pydantic
import pytest

pytestmark = pytest.mark.model

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
QUESTION: Any = [{"role": "user", "content": "What is the weather in Paris? Use the tool."}]


def test_streamed_is_what_is_not_streamed(official: openai.OpenAI) -> None:
    asked: Any = {
        "model": "",
        "messages": [{"role": "user", "content": "用中文介绍一下北京，加上一个表情符号。"}],
        "temperature": 0,
        "max_tokens": 40,
        "logprobs": True,
        "top_logprobs": 3,
    }
    official.chat.completions.create(**asked)  # both find the prompt read: how it is read decides how it is rounded
    whole = official.chat.completions.create(**asked)
    chunks = list(official.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert "\ufffd" not in text
    assert chunks[-1].usage is not None and whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    scores = whole.choices[0].logprobs
    assert scores is not None and scores.content is not None
    assert bytes(byte for one in scores.content for byte in one.bytes or ()).decode(errors="ignore").startswith(text)
    for one in scores.content:
        assert one.logprob <= 0
        assert one.logprob == one.top_logprobs[0].logprob  # greedy: the drawn one is the likeliest
        assert [top.logprob for top in one.top_logprobs] == sorted((t.logprob for t in one.top_logprobs), reverse=True)


@pytest.mark.parametrize("choice", ["auto", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_tool_is_called_and_its_result_read(official: openai.OpenAI, choice: Any) -> None:
    asked: Any = {"model": "", "tools": [WEATHER], "temperature": 0, "max_tokens": 100}
    first = official.chat.completions.create(messages=QUESTION, tool_choice=choice, **asked)
    (call,) = first.choices[0].message.tool_calls or []
    assert first.choices[0].finish_reason == "tool_calls"
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert "Paris" in json.loads(call.function.arguments)["city"]
    turns: Any = [
        *QUESTION,
        first.choices[0].message,
        {"role": "tool", "tool_call_id": call.id, "content": "18 °C, rain"},
    ]
    second = official.chat.completions.create(messages=turns, tool_choice="none", **asked)
    assert "rain" in (second.choices[0].message.content or "")


def test_a_tool_call_is_streamed(official: openai.OpenAI) -> None:
    with official.chat.completions.stream(
        model="", messages=QUESTION, tools=[WEATHER], tool_choice="required", temperature=0, max_tokens=100
    ) as stream:
        pieces = [event for event in stream if event.type == "tool_calls.function.arguments.delta"]
        (call,) = stream.get_final_completion().choices[0].message.tool_calls or []
    assert len(pieces) > 1
    assert call.function.parsed_arguments == {"city": "Paris"}


class Person(pydantic.BaseModel):
    """Somebody."""

    name: str
    age: int
    mood: Literal["good", "bad"]


def test_structured_output_is_parsed(official: openai.OpenAI) -> None:
    parsed = official.chat.completions.parse(
        model="",
        messages=[{"role": "user", "content": "Ada is 36 years old and in a good mood."}],
        response_format=Person,
        temperature=0,
    )
    assert parsed.choices[0].message.parsed == Person(name="Ada", age=36, mood="good")
