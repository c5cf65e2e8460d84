"""The clients that people have, on a real model: chat, streams, tools and answers that follow a schema."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anthropic
import ollama
import openai
import pytest
from langchain_core.messages import ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from tests.e2e.conftest import serve

pytestmark = pytest.mark.model

WEATHER: Any = {
    "name": "get_weather",
    "description": "The weather in a city now",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
QUESTION: Any = [{"role": "user", "content": "What is the weather in Paris? Use the tool."}]
PERSON: Any = [{"role": "user", "content": "Give me a person as JSON: Ann, who is 30."}]
HELLO: Any = [{"role": "user", "content": "Say hello."}]


class Person(BaseModel):
    name: str
    age: int


@pytest.fixture(scope="module")
def url(qwen: Path) -> Iterator[str]:
    with serve("--model", str(qwen), "--context", "2048") as server:
        yield server.ready(120)


def test_openais(url: str) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        said = client.responses.create(model="", input="Say hello.", max_output_tokens=20, temperature=0)
        assert said.output_text
        with client.responses.stream(model="", input="Say hello.", max_output_tokens=20, temperature=0) as stream:
            assert "".join(e.delta for e in stream if e.type == "response.output_text.delta") == said.output_text
        ask: Any = client.responses.create
        called = ask(
            model="",
            input=QUESTION,
            tools=[{"type": "function", **WEATHER}],
            tool_choice="required",
            temperature=0,
            parallel_tool_calls=False,
        )
        assert "city" in json.loads(called.output[0].arguments)
        parsed = client.responses.parse(model="", input=PERSON, text_format=Person, temperature=0)
        assert parsed.output_parsed == Person(name="Ann", age=30)


def test_anthropics(url: str) -> None:
    tool: Any = {"name": "get_weather", "description": "Weather now", "input_schema": WEATHER["parameters"]}
    choice: Any = {"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True}
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as client:
        said = client.messages.create(model="", max_tokens=20, messages=HELLO)
        assert said.content[0].text
        with client.messages.stream(
            model="", max_tokens=100, messages=QUESTION, tools=[tool], tool_choice=choice
        ) as stream:
            called = stream.get_final_message()
        assert called.stop_reason == "tool_use"
        (call,) = [block for block in called.content if block.type == "tool_use"]
        assert "city" in call.input
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "18 degrees, sunny"}
        content = [block.model_dump(exclude_none=True) for block in called.content]
        turns = [*QUESTION, {"role": "assistant", "content": content}, {"role": "user", "content": [result]}]
        final = client.messages.create(
            model="", max_tokens=40, messages=turns, tools=[tool], tool_choice={"type": "none"}
        )
        assert final.content[0].text


def test_ollamas(url: str) -> None:
    with closing(ollama.Client(host=url)) as client:
        model = client.list().models[0].model
        parts = list(
            client.chat(model=model, messages=HELLO, stream=True, options={"num_predict": 20, "temperature": 0})
        )
        assert "".join(part.message.content for part in parts)
        assert parts[-1].eval_count > 0
        answer = client.chat(
            model=model, messages=PERSON, format=Person.model_json_schema(), options={"temperature": 0}
        )
        assert Person.model_validate_json(answer.message.content) == Person(name="Ann", age=30)
        tools = [{"type": "function", "function": WEATHER}]
        short = {"num_predict": 60, "temperature": 0}
        said = client.chat(model=model, messages=QUESTION, tools=tools, options=short).message
        assert said.content or said.tool_calls  # no choice of tools can be asked for in this dialect
        for call in said.tool_calls or []:
            assert call.function.name == "get_weather"
        told = [*QUESTION, said, {"role": "tool", "tool_name": "get_weather", "content": "18 degrees, sunny"}]
        assert client.chat(model=model, messages=told, options=short).message.content


def test_langchains(url: str) -> None:
    chat = ChatOpenAI(base_url=f"{url}/v1", api_key="none", model="", temperature=0, max_tokens=100, max_retries=0)
    assert chat.invoke("Say hello.").content
    assert "".join(str(chunk.content) for chunk in chat.stream("Say hello."))
    tools = [{"type": "function", "function": WEATHER}]
    called = chat.bind_tools(tools, tool_choice="get_weather").invoke(QUESTION)
    assert "city" in called.tool_calls[0]["args"]
    streamed = [*chat.bind_tools(tools, tool_choice="required").stream(QUESTION)]
    assert "city" in sum(streamed[1:], streamed[0]).tool_calls[0]["args"]
    result = ToolMessage("18 degrees, sunny", tool_call_id=called.tool_calls[0]["id"])
    assert chat.bind_tools(tools, tool_choice="none").invoke([*QUESTION, called, result]).content
    assert chat.with_structured_output(Person).invoke(PERSON) == Person(name="Ann", age=30)
