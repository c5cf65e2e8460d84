"""Official clients show pictures in all four dialects; and what strangers make of pictures harms no server."""

import os
import random
import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import anthropic
import httpx
import ollama
import openai
import pytest

from edgechat.prompt.senses import unsupported
from edgechat.types import Attachment
from tests.api.conftest import serving
from tests.pictures import drawn, encoded, kinds, mutated

MUTANTS = 2000 if os.environ.get("EDGECHAT_TORTURE") else 100
FLAG = encoded(drawn(), "PNG")
BASE64 = b64encode(FLAG).decode()
URL = f"data:image/png;base64,{BASE64}"
ASK = "What is it?"


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server whose model takes pictures."""
    folder = tmp_path_factory.mktemp("seeing")
    (folder / "fake.json").write_text('{"senses": ["picture"], "reply": "A flag."}')
    with serving(folder / "fake.json", folder / "home") as base:
        yield base


def chat(base: str) -> str:
    parts = [{"type": "text", "text": ASK}, {"type": "image_url", "image_url": {"url": URL, "detail": "low"}}]
    with openai.OpenAI(base_url=f"{base}/v1", api_key="x") as client:
        answer = client.chat.completions.create(model="", messages=[{"role": "user", "content": parts}])  # type: ignore[list-item,misc]
    return answer.choices[0].message.content or ""


def responses(base: str) -> str:
    parts = [{"type": "input_text", "text": ASK}, {"type": "input_image", "image_url": URL, "detail": "auto"}]
    with openai.OpenAI(base_url=f"{base}/v1", api_key="x") as client:
        first = client.responses.create(model="", input=[{"role": "user", "content": parts}])  # type: ignore[list-item,misc]
        again = client.responses.create(model="", input="And now?", previous_response_id=first.id)
    assert again.output_text == first.output_text, "the picture is remembered with the conversation"
    return first.output_text


def messages(base: str) -> str:
    source = {"type": "base64", "media_type": "image/jpeg", "data": BASE64}  # a wrong type harms nobody
    parts = [{"type": "image", "source": source}, {"type": "text", "text": ASK}]
    with anthropic.Anthropic(base_url=base, api_key="x") as client:
        turn: Any = [{"role": "user", "content": parts}]
        assert client.messages.count_tokens(model="fake.json", messages=turn).input_tokens > 5
        answer = client.messages.create(model="fake.json", max_tokens=20, messages=turn)
    (block,) = answer.content
    assert block.type == "text"
    return str(block.text)


def generate(base: str) -> str:
    with ollama.Client(host=base) as client:
        told = client.chat(model="fake.json", messages=[{"role": "user", "content": ASK, "images": [FLAG]}])
        assert client.generate(model="fake.json", prompt=ASK, images=[FLAG]).response == told.message.content
    return str(told.message.content)


@pytest.mark.parametrize("show", [chat, responses, messages, generate])
def test_official_clients_show_pictures(seeing: str, show: Callable[[str], str]) -> None:
    assert show(seeing) == "A flag."


OTHER = encoded(drawn((96, 40)), "JPEG")  # a second picture
LOOK: Any = {"name": "look", "parameters": {"type": "object", "properties": {}}}


def streamed_chat(base: str) -> str:
    urls = [URL, f"data:image/jpeg;base64,{b64encode(OTHER).decode()}"]
    parts = [*({"type": "image_url", "image_url": {"url": url}} for url in urls), {"type": "text", "text": ASK}]
    tools: Any = [{"type": "function", "function": LOOK}]
    with openai.OpenAI(base_url=f"{base}/v1", api_key="x") as client:
        turn: Any = [{"role": "user", "content": parts}]
        chunks = client.chat.completions.create(model="", messages=turn, tools=tools, stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def streamed_responses(base: str) -> str:
    shown = {"type": "input_image", "image_url": URL, "detail": "original", "file_id": None}
    call = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c1", "output": [shown]}
    turn: Any = [{"role": "user", "content": [shown, {"type": "input_text", "text": ASK}]}, call, output]
    tools: Any = [{"type": "function", "strict": False, **LOOK}]
    with openai.OpenAI(base_url=f"{base}/v1", api_key="x") as client:
        events = client.responses.create(model="", input=turn, tools=tools, stream=True)
        return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def streamed_messages(base: str) -> str:
    blocks: Any = [
        {"type": "image", "source": {"type": "base64", "media_type": kind, "data": b64encode(data).decode()}}
        for kind, data in (("image/png", FLAG), ("image/jpeg", OTHER))
    ]
    use = {"type": "tool_use", "id": "c1", "name": "look", "input": {}}
    turn: Any = [
        {"role": "user", "content": [*blocks, {"type": "text", "text": ASK}]},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": blocks[:1]}]},
    ]
    tools: Any = [{"name": "look", "input_schema": LOOK["parameters"]}]
    with (
        anthropic.Anthropic(base_url=base, api_key="x") as client,
        client.messages.stream(model="fake.json", max_tokens=20, messages=turn, tools=tools) as answer,
    ):
        return "".join(answer.text_stream)


def streamed_generate(base: str) -> str:
    with ollama.Client(host=base) as client:
        assert "vision" in (client.show("fake.json").capabilities or ())
        turn = {"role": "user", "content": ASK, "images": [FLAG, OTHER]}
        tools = [{"type": "function", "function": LOOK}]
        chunks = client.chat(model="fake.json", messages=[turn], tools=tools, stream=True)
        told = "".join(chunk.message.content or "" for chunk in chunks)
        parts = client.generate(model="fake.json", prompt=ASK, images=[FLAG, OTHER], stream=True)
        assert "".join(part.response for part in parts) == told
    return told


@pytest.mark.parametrize("show", [streamed_chat, streamed_responses, streamed_messages, streamed_generate])
def test_several_come_streamed_and_with_tools(seeing: str, show: Callable[[str], str]) -> None:
    assert show(seeing) == "A flag."


def test_what_is_kept_elsewhere_is_told_by_name(seeing: str) -> None:
    with openai.OpenAI(base_url=f"{seeing}/v1", api_key="x") as client:
        kept: Any = [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1", "detail": "auto"}]}]
        with pytest.raises(openai.BadRequestError, match="file_id is not honoured by this release: "):
            client.responses.create(model="", input=kept)
    with anthropic.Anthropic(base_url=seeing, api_key="x") as client:
        block: Any = {"type": "image", "source": {"type": "file", "file_id": "file_1"}}
        with pytest.raises(anthropic.BadRequestError, match="a picture comes as base64 or as a data: URL"):
            client.messages.create(model="fake.json", max_tokens=9, messages=[{"role": "user", "content": [block]}])


def test_a_hundred_pictures_are_one_question(seeing: str) -> None:
    """As many as Anthropic's own API takes, and one wider than that takes."""
    wide = encoded(drawn((8100, 60)), "PNG")
    blocks: Any = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": b64encode(data).decode()}}
        for data in (*[FLAG] * 99, wide)
    ]
    with anthropic.Anthropic(base_url=seeing, api_key="x") as client:
        answer = client.messages.create(
            model="fake.json", max_tokens=20, messages=[{"role": "user", "content": blocks}]
        )
    assert answer.content[0].type == "text"


def test_what_a_picture_took_is_told(seeing: str) -> None:
    """Once it is encoded; then it is known, to whoever asked."""
    own, told = encoded(drawn((48, 40)), "PNG"), []
    url = f"data:image/png;base64,{b64encode(own).decode()}"
    parts = [{"type": "text", "text": ASK}, {"type": "image_url", "image_url": {"url": url}}]
    body = {"messages": [{"role": "user", "content": parts}]}
    with httpx.Client(base_url=seeing, timeout=60) as client:
        for _ in range(2):
            told += client.post("/v1/chat/completions", json=body).json()["edgechat"]["media"]
        body = {"messages": [{"role": "user", "content": ASK}]}
        assert "media" not in client.post("/v1/chat/completions", json=body).json()["edgechat"]
    first, again = told
    assert first.keys() == {"sha256", "kind", "tokens", "encode_ms", "cached"}
    assert (first["sha256"], first["kind"], first["cached"]) == (sha256(own).hexdigest(), "picture", False)
    assert first["tokens"] > 0
    assert first["encode_ms"] > 0
    assert again == first | {"encode_ms": 0.0, "cached": True}


def test_the_page_is_told_how_far_a_picture_is(seeing: str) -> None:
    own = encoded(drawn((56, 40)), "PNG")
    with httpx.Client(base_url=seeing, timeout=60) as client:
        kind = {"Content-Type": "application/octet-stream"}
        digest = client.put("/api/attachments", content=own, headers=kind).json()["sha256"]
        run = client.post("/api/runs", json={"content": ASK, "attachments": [digest]}).json()
        with client.stream("GET", f"/api/runs/{run['run_id']}/events") as events:
            told = "".join(events.iter_text())
    how_far = rf'{{"sha256":"{digest}","stage":"encode","done":\d+,"total":100[,}}]'
    assert re.search(rf"event: media\nid: \d+\ndata: {how_far}", told)


def test_mutated_pictures_harm_no_server(seeing: str) -> None:
    """Each is answered or refused by name, and whoever asks next is answered."""
    dice, files = random.Random(22), list(kinds().values())
    with httpx.Client(base_url=seeing, timeout=60) as client:
        for _ in range(MUTANTS):
            url = f"data:image/png;base64,{b64encode(mutated(dice.choice(files), dice)).decode()}"
            parts = [{"type": "text", "text": ASK}, {"type": "image_url", "image_url": {"url": url}}]
            answer = client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": parts}]})
            assert answer.status_code in (200, 400), answer.text
            if answer.status_code == 400:
                assert answer.json()["error"]["code"] == "invalid_media"
        assert client.get("/healthz").status_code == 200
        assert chat(seeing) == "A flag."


def test_the_refusal_names_those_that_take_it() -> None:
    part = Attachment("0" * 64, "picture", "image/png")
    told = str(unsupported(part, ["qwen3-vl-2b", "tiny-vl"]))
    assert told == "an image/png cannot be read by this model; ask one that takes pictures: qwen3-vl-2b, tiny-vl."
