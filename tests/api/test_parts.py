"""Four dialects, one reader of parts: what no model takes is refused in one way, what is text is read in one way."""

import hashlib
import json
import textwrap
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from edgechat.api.anthropic.wire import Prompt
from edgechat.api.fields import Body
from edgechat.api.ollama.wire import ChatRequest as OllamaRequest
from edgechat.api.ollama.wire import GenerateRequest
from edgechat.api.openai.wire import ChatRequest
from edgechat.api.parts import KINDS
from edgechat.api.responses.memory import Past
from edgechat.api.responses.wire import ResponsesRequest
from edgechat.errors import InvalidRequest
from edgechat.media.inline import MOST
from edgechat.prompt.sight import SHARPEST
from edgechat.types import Attachment, GenRequest, Message, Sampling
from tests.api.conftest import serving
from tests.pictures import drawn, encoded

BYTES = encoded(drawn(), "PNG")
BASE64 = b64encode(BYTES).decode()
PNG = f"data:image/png;base64,{BASE64}"
SHOWN = Attachment(hashlib.sha256(BYTES).hexdigest(), "picture", "image/png")
SOURCE = {"type": "base64", "media_type": "image/png", "data": BASE64}
TEXT = {"type": "text", "text": "What is it?"}


def messages(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [TEXT, *parts]}], **more}


def output(part: dict[str, Any]) -> list[dict[str, Any]]:
    """A conversation in which a tool shows `part`, in the Responses API's shapes."""
    call = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}
    return [{"role": "user", "content": "x"}, call, {"type": "function_call_output", "call_id": "c1", "output": [part]}]


def result(part: dict[str, Any]) -> dict[str, Any]:
    """The same in Anthropic's."""
    return {"type": "tool_result", "tool_use_id": "c1", "content": [part]}


IMAGE, DOCUMENT = {"type": "image", "source": SOURCE}, {"type": "document", "source": SOURCE}
CHAT, RESPONSES, ANTHROPIC, OLLAMA = "/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/chat"
MEDIA: list[tuple[str, dict[str, Any], str, str]] = [
    (
        CHAT,
        messages({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}),
        "sound",
        "messages.0.content",
    ),
    (CHAT, messages({"type": "file", "file": {"file_data": "x"}}), "documents", "messages.0.content"),
    (
        RESPONSES,
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_data": "x"}]}]},
        "documents",
        "input.0.content",
    ),
    (
        RESPONSES,
        {"input": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
        "sound",
        "input.0.content",
    ),
    (ANTHROPIC, messages(DOCUMENT), "documents", "messages.0.content.1"),
    (f"{ANTHROPIC}/count_tokens", messages(DOCUMENT), "documents", "messages.0.content.1"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body", "many", "param"), MEDIA, ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_no_model_takes_is_refused_and_says_so(
    client: httpx.Client, path: str, body: dict[str, Any], many: str, param: str, stream: bool
) -> None:
    streamed = {} if "count" in path else {"stream": stream}
    refused = client.post(path, json={"model": "", **body, **streamed})
    error = told(refused)
    assert (refused.status_code, error["code"], error["param"]) == (400, "unsupported_media", param)
    assert error["message"].startswith(f"{param}: ")
    assert error["message"].endswith(f"cannot be read: no model here takes {many}.")
    assert "\n" not in error["message"]


def test_every_kind_that_is_known_is_tried() -> None:
    tried = {word for _, body, _, _ in MEDIA for word in KINDS if f"'type': '{word}'" in str(body)}
    assert tried == set(KINDS)


def told(refused: httpx.Response) -> dict[str, Any]:
    """The error that a dialect tells, its words under `message`."""
    body: dict[str, Any] = refused.json()
    return body | {"message": body["error"]} if isinstance(body["error"], str) else body["error"]


# ── pictures ──

CALLS = {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "look", "input": {}}]}
SEEN: list[tuple[type[Body], str, dict[str, Any], str]] = [
    (ChatRequest, CHAT, messages({"type": "image_url", "image_url": {"url": PNG, "detail": "high"}}), "messages"),
    (ChatRequest, CHAT, messages({"type": "image_url", "image_url": PNG}), "messages"),
    (
        ResponsesRequest,
        RESPONSES,
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": PNG, "detail": "auto"}]}]},
        "input",
    ),
    (ResponsesRequest, RESPONSES, {"input": output({"type": "input_image", "image_url": PNG})}, "input"),
    (Prompt, ANTHROPIC, messages(IMAGE), "messages"),
    (Prompt, ANTHROPIC, messages({"type": "image", "source": {"type": "url", "url": PNG}}), "messages"),
    (
        Prompt,
        f"{ANTHROPIC}/count_tokens",
        {"messages": [{"role": "user", "content": "x"}, CALLS, {"role": "user", "content": [result(IMAGE)]}]},
        "messages",
    ),
    (OllamaRequest, OLLAMA, {"messages": [{"role": "user", "content": "x", "images": [BASE64]}]}, "messages"),
    (GenerateRequest, "/api/generate", {"prompt": "x", "images": [BASE64]}, "prompt"),
    (GenerateRequest, "/api/generate", {"prompt": "", "images": [BASE64]}, "prompt"),
]


@pytest.mark.parametrize(("shape", "path", "body", "param"), SEEN, ids=[one[1] for one in SEEN])
def test_a_picture_is_a_part_with_its_bytes_beside(
    client: httpx.Client, shape: type[Body], path: str, body: dict[str, Any], param: str
) -> None:
    wanted = asked(shape, body)
    assert [part for message in wanted.messages for part in message.attachments] == [SHOWN]
    assert wanted.media == {SHOWN.sha256: BYTES}
    refused = client.post(path, json={"model": "", **body})
    error = told(refused)
    assert (refused.status_code, error["code"], error["param"]) == (400, "unsupported_media", param)
    assert error["message"] == "an image/png cannot be read: no model here takes pictures."


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a server whose model takes pictures."""
    folder = tmp_path_factory.mktemp("seeing")
    (folder / "fake.json").write_text('{"senses": ["picture"], "reply": "I see."}')
    with serving(folder / "fake.json", folder / "home") as base, httpx.Client(base_url=base, timeout=10) as client:
        yield client


@pytest.mark.parametrize(("shape", "path", "body", "param"), SEEN, ids=[one[1] for one in SEEN])
def test_a_model_that_sees_is_given_it(
    seeing: httpx.Client, shape: type[Body], path: str, body: dict[str, Any], param: str
) -> None:
    answer = seeing.post(path, json={"model": "", **body} | ({"stream": False} if "count" not in path else {}))
    assert answer.status_code == 200, answer.text
    assert "I see." in answer.text or "count" in path


def picture(content: bytes) -> dict[str, Any]:
    url = f"data:image/png;base64,{b64encode(content).decode()}"
    return messages({"type": "image_url", "image_url": {"url": url}})


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (picture(b"x"), "these bytes are none of image/png, image/jpeg, image/webp, image/gif, image/bmp"),
        (picture(b""), "there are no bytes: send one of image/png, "),
        (picture(b"%PDF-1.7"), "these bytes are application/pdf, which is not read here: send one of image/png, "),
        (picture(b"<svg onload='x'/>"), "these bytes are SVG, which is not read here"),
        (picture(b"\0\0\0\x18ftypheic" + bytes(20)), "these bytes are HEIC, which is not read here"),
        (
            picture(BYTES + bytes(MOST)),
            f"the picture has {MOST + len(BYTES)} bytes, and may have {MOST}: send a smaller one",
        ),
        (messages({"type": "image_url", "image_url": {"url": "data:image/png,x"}}), "ends its head with ';base64,'"),
        (messages({"type": "image_url", "image_url": {"url": PNG[:-2] + "§"}}), "the picture is not base64"),
        (messages({"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}), "no address is asked here"),
        (messages({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}), "the picture is not base64"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(seeing: httpx.Client, body: dict[str, Any], why: str) -> None:
    error = told(refused := seeing.post(CHAT, json=body))
    place = "messages.0.content.1.image_url.url"
    assert (refused.status_code, error["code"], error["param"]) == (400, "invalid_media", place)
    assert why in error["message"]
    assert "\n" not in error["message"]


def test_what_it_is_called_counts_for_nothing(seeing: httpx.Client) -> None:
    jpeg = b"\xff\xd8\xff\xe0" + bytes(20)
    wanted = asked(ChatRequest, picture(jpeg))
    assert [part.media_type for part in wanted.messages[0].attachments] == ["image/jpeg"]
    lines = "".join(f"{line}\n" for line in textwrap.wrap(b64encode(jpeg * 9).decode(), 76))
    assert asked(OllamaRequest, {"messages": [{"role": "user", "images": [lines]}]}).media.popitem()[1] == jpeg * 9


@pytest.mark.parametrize(
    "url",
    [
        PNG.replace(";base64", ";charset=utf-8;base64"),
        PNG.replace(";base64", ";name=a b.png; BASE64"),
        PNG.replace("image/png", ""),
        PNG.replace("data:image/png", "  DATA:text/html"),
        PNG.rstrip("="),
        PNG.replace("+", "-").replace("/", "_").replace("image_png", "image/png"),
        PNG.replace(",", ",\r\n "),
        PNG.replace("+", "%2B").replace("=", "%3D"),
        BASE64 + "\n",
    ],
)
@pytest.mark.parametrize("place", ["openai", "anthropic", "ollama"])
def test_a_data_url_is_read_however_it_is_written(url: str, place: str) -> None:
    written: dict[str, tuple[type[Body], dict[str, Any]]] = {
        "openai": (ChatRequest, messages({"type": "image_url", "image_url": url})),
        "anthropic": (Prompt, messages({"type": "image", "source": {"type": "base64", "data": url}})),
        "ollama": (OllamaRequest, {"messages": [{"role": "user", "images": [url]}]}),
    }
    assert asked(*written[place]).media == {SHOWN.sha256: BYTES}


@pytest.mark.parametrize(
    ("detail", "tokens"), [("low", 128), ("high", SHARPEST), ("original", SHARPEST), ("auto", None), (None, None)]
)
def test_detail_says_how_many_tokens_a_picture_may_take(detail: str | None, tokens: int | None) -> None:
    wanted = {} if tokens is None else {SHOWN.sha256: tokens}
    chat = messages({"type": "image_url", "image_url": {"url": PNG, "detail": detail}})
    shown = {"type": "input_image", "image_url": PNG, "detail": detail}
    for shape, body in ((ChatRequest, chat), (ResponsesRequest, {"input": [{"role": "user", "content": [shown]}]})):
        assert asked(shape, body).picture_tokens == wanted
        assert asked(shape, body).media == {SHOWN.sha256: BYTES}
    twice = messages(*({"type": "image_url", "image_url": {"url": PNG, "detail": one}} for one in ("low", detail)))
    assert asked(ChatRequest, twice).picture_tokens == ({SHOWN.sha256: tokens} if tokens else {}), "the closest look"


def test_a_detail_that_nobody_knows_is_told(seeing: httpx.Client) -> None:
    for detail, ignored in (("odd", ["messages.0.content.1.image_url.detail"]), ("high", []), ("auto", [])):
        part = {"type": "image_url", "image_url": {"url": PNG, "detail": detail}}
        assert seeing.post(CHAT, json=messages(part)).json()["edgechat"]["ignored"] == ignored


def test_pictures_are_the_users_to_send(seeing: httpx.Client) -> None:
    part = {"type": "image_url", "image_url": {"url": PNG}}
    for role in ("system", "assistant", "developer"):
        error = told(refused := seeing.post(CHAT, json={"messages": [{"role": role, "content": [part]}]}))
        assert (refused.status_code, error["param"]) == (400, "messages.0.content")
        assert f"in messages with role 'user', and this one's is '{role}'" in error["message"]
    error = told(seeing.post(ANTHROPIC, json=messages(system=[IMAGE])))
    assert (error["code"], error["param"]) == ("invalid_request", "system.0.type")


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CHAT, messages({"type": "hologram"}), "messages.0.content"),
        (CHAT, messages({"type": ["image_url"]}), "messages.0.content"),
        (RESPONSES, {"input": [{"role": "user", "content": [{"type": "hologram"}]}]}, "input.0.content"),
        (ANTHROPIC, messages({"type": "hologram"}), "messages.0.content.1"),
        (OLLAMA, {"messages": [{"role": "user", "content": "x", "images": "AA=="}]}, "messages.0.images"),
    ],
)
def test_what_nobody_knows_is_no_medium(client: httpx.Client, path: str, body: dict[str, Any], param: str) -> None:
    error = told(refused := client.post(path, json=body))
    assert (refused.status_code, error["code"], error["param"]) == (400, "invalid_request", param)


# ── text ──

PIECES = ("What ", "is it?")


@pytest.mark.parametrize(
    ("shape", "body"),
    [
        (
            ChatRequest,
            messages() | {"messages": [{"role": "user", "content": [*({"type": "text", "text": t} for t in PIECES)]}]},
        ),
        (Prompt, {"messages": [{"role": "user", "content": [*({"type": "text", "text": t} for t in PIECES)]}]}),
        (
            ResponsesRequest,
            {"input": [{"role": "user", "content": [*({"type": "input_text", "text": t} for t in PIECES)]}]},
        ),
    ],
)
def test_text_stays_in_its_parts(shape: type[Body], body: dict[str, Any]) -> None:
    assert asked(shape, body).messages == (Message("user", PIECES),)


def asked(shape: type[Body], body: dict[str, Any]) -> GenRequest:
    """What a body of any dialect asks the engine."""
    read = shape.model_validate(body)
    if isinstance(read, Prompt):
        return read.asked()
    if isinstance(read, OllamaRequest | GenerateRequest):
        return read.generation(Sampling())
    if isinstance(read, ResponsesRequest):
        return read.generation(Sampling(), Past().conversation(read))
    assert isinstance(read, ChatRequest)
    return read.generation(Sampling())


# ── tools ──

CALLED = "weather"
FUNCTION = {"name": CALLED, "parameters": {"type": "object"}}
TOOLS: dict[type[Body], list[dict[str, Any]]] = {
    ChatRequest: [{"type": "function", "function": FUNCTION}],
    ResponsesRequest: [{"type": "function", **FUNCTION}],
    Prompt: [{"name": CALLED, "input_schema": {"type": "object"}}],
    OllamaRequest: [{"type": "function", "function": FUNCTION}],
}
USER = {"role": "user", "content": "x"}
CHAT_CALL = {"id": "c1", "type": "function", "function": {"name": CALLED, "arguments": "{}"}}
USE = {"type": "tool_use", "id": "c1", "name": CALLED, "input": {}}
ANSWERED: dict[type[Body], dict[str, Any]] = {
    ChatRequest: {
        "messages": [
            USER,
            {"role": "assistant", "tool_calls": [CHAT_CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "18"},
        ]
    },
    ResponsesRequest: {
        "input": [
            USER,
            {"type": "function_call", "call_id": "c1", "name": CALLED, "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "18"},
        ]
    },
    Prompt: {
        "messages": [
            USER,
            {"role": "assistant", "content": [USE]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "18"}]},
        ]
    },
    OllamaRequest: {
        "messages": [
            USER,
            {"role": "assistant", "tool_calls": [{"function": {"name": CALLED, "arguments": {}}}]},
            {"role": "tool", "content": "18"},
        ]
    },
}


@pytest.mark.parametrize("shape", ANSWERED, ids=lambda shape: shape.__module__)
def test_a_result_has_its_tools_name_and_answers_a_call(shape: type[Body]) -> None:
    body = ANSWERED[shape]
    *_, answer = asked(shape, body).messages
    assert (answer.role, answer.name, answer.text) == ("tool", CALLED, "18")
    if shape is OllamaRequest:
        return  # results follow their calls by order there
    ((field, (user, _, answer)),) = body.items()
    with pytest.raises(InvalidRequest, match="the result of 'c1' answers no call before it") as refused:
        asked(shape, {field: [user, answer]})
    assert refused.value.param == ("messages.1.tool_call_id" if shape is ChatRequest else field)


@pytest.mark.parametrize("shape", TOOLS, ids=lambda shape: shape.__module__)
def test_a_tool_is_there_once(shape: type[Body]) -> None:
    with pytest.raises(InvalidRequest, match="two are called 'weather'") as refused:
        asked(shape, ANSWERED[shape] | {"tools": TOOLS[shape] * 2})
    assert refused.value.param == "tools"


CHOICES: list[tuple[type[Body], Any, Any, str]] = [
    (ChatRequest, "required", {"type": "function", "function": {"name": "other"}}, "tool_choice"),
    (ResponsesRequest, "required", {"type": "function", "name": "other"}, "tool_choice"),
    (Prompt, {"type": "any"}, {"type": "tool", "name": "other"}, "tool_choice.name"),
]


@pytest.mark.parametrize(("shape", "any_one", "other", "param"), CHOICES)
def test_a_choice_has_its_tool(shape: type[Body], any_one: Any, other: Any, param: str) -> None:
    body = ANSWERED[shape]
    with pytest.raises(InvalidRequest, match="there are no tools") as refused:
        asked(shape, body | {"tool_choice": any_one})
    assert refused.value.param == "tool_choice"
    with pytest.raises(InvalidRequest, match="names 'other', which is no tool") as refused:
        asked(shape, body | {"tools": TOOLS[shape], "tool_choice": other})
    assert refused.value.param == param
    assert asked(shape, body | {"tools": TOOLS[shape], "tool_choice": any_one}).tool_choice == "required"


@pytest.mark.parametrize("kind", [[], {}, {"a": 1}, 7, True, ["text"]], ids=json.dumps)
def test_a_type_that_is_no_name_is_refused_in_every_place(client: httpx.Client, kind: Any) -> None:
    odd = {"type": kind}
    for path, body in (
        ("/v1/responses", {"input": [odd]}),
        ("/v1/responses", {"input": [{"role": "user", "content": [odd]}]}),
        ("/v1/responses", {"input": "x", "tools": [odd]}),
        ("/v1/messages", {"messages": [{"role": "user", "content": [odd]}]}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "x"}], "tools": [odd]}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": [odd]}]}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "tools": [odd]}),
        ("/api/chat", {"messages": [{"role": "user", "content": "x"}], "tools": [odd]}),
    ):
        refused = client.post(path, json=body)
        assert refused.status_code == 400, (path, body, refused.text)
