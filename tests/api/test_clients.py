"""LangChain's client against the fake engine; each official client is in its dialect's own test."""

from pathlib import Path
from typing import Any

import httpx
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from tests.api.conftest import serving
from tests.conftest import FakeModel

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'
REPLIES = {"hi": "Hello!", "add": CALL, "who": '{"name": "Ann"}'}


class Person(BaseModel):
    name: str


def add(a: int, b: int) -> int:
    """The sum of two numbers."""
    return a + b


def test_chat_stream_tools_and_structured_output(fake_model: FakeModel, tmp_path: Path) -> None:
    with serving(fake_model(replies=REPLIES), tmp_path / "home") as base:
        model = httpx.get(f"{base}/v1/models").json()["data"][0]["id"]
        chat: Any = ChatOpenAI(base_url=f"{base}/v1", api_key="none", model=model, max_retries=0)
        assert chat.invoke("hi").content == "Hello!"
        assert "".join(chunk.content for chunk in chat.stream("hi")) == "Hello!"
        (call,) = chat.bind_tools([add]).invoke("add").tool_calls
        assert (call["name"], call["args"]) == ("add", {"a": 1, "b": 2})
        chunks = list(chat.bind_tools([add]).stream("add"))
        whole = sum(chunks[1:], chunks[0])
        assert whole.tool_calls[0]["args"] == {"a": 1, "b": 2}
        assert chat.with_structured_output(Person).invoke("who") == Person(name="Ann")
        responses: Any = ChatOpenAI(
            base_url=f"{base}/v1", api_key="none", model=model, max_retries=0, use_responses_api=True
        )
        assert responses.invoke("hi").text == "Hello!"
