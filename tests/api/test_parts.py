"""Four dialects, one reader of parts: what no model takes is refused in one way, what is text is read in one way."""

from typing import Any

import httpx
import pytest

from edgechat.api.anthropic.wire import Prompt
from edgechat.api.fields import Body
from edgechat.api.ollama.wire import ChatRequest as OllamaRequest
from edgechat.api.openai.wire import ChatRequest
from edgechat.api.parts import KINDS
from edgechat.api.responses.memory import Past
from edgechat.api.responses.wire import ResponsesRequest
from edgechat.errors import InvalidRequest
from edgechat.types import GenRequest, Message, Sampling

PNG = "data:image/png;base64,iVBORw0KGgo="
SOURCE = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
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
    (CHAT, messages({"type": "image_url", "image_url": {"url": PNG}}), "pictures", "messages.0.content"),
    (
        CHAT,
        messages({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}),
        "sound",
        "messages.0.content",
    ),
    (CHAT, messages({"type": "file", "file": {"file_data": "x"}}), "documents", "messages.0.content"),
    (
        RESPONSES,
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": PNG}]}]},
        "pictures",
        "input.0.content",
    ),
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
    (RESPONSES, {"input": output({"type": "input_image", "image_url": PNG})}, "pictures", "input.2.output"),
    (ANTHROPIC, messages(IMAGE), "pictures", "messages.0.content.1"),
    (ANTHROPIC, messages(DOCUMENT), "documents", "messages.0.content.1"),
    (ANTHROPIC, messages(result(IMAGE)), "pictures", "messages.0.content.1.content.0"),
    (ANTHROPIC, messages(system=[IMAGE]), "pictures", "system.0"),
    (f"{ANTHROPIC}/count_tokens", messages(IMAGE), "pictures", "messages.0.content.1"),
    (OLLAMA, {"messages": [{"role": "user", "content": "x", "images": ["AA=="]}]}, "pictures", "messages.0.images"),
    ("/api/generate", {"prompt": "x", "images": ["AA=="]}, "pictures", "images"),
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
    told = refused.json()
    error = told if isinstance(told["error"], str) else told["error"]
    message = told["error"] if isinstance(told["error"], str) else error["message"]
    assert (refused.status_code, error["code"], error["param"]) == (400, "unsupported_media", param)
    assert message.startswith(f"{param}: ")
    assert message.endswith(f"cannot be read: the served model reads text only, and no model here takes {many}.")
    assert "\n" not in message


def test_every_kind_that_is_known_is_tried() -> None:
    tried = {word for _, body, _, _ in MEDIA for word in KINDS if f"'type': '{word}'" in str(body)}
    assert tried == set(KINDS)


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
    refused = client.post(path, json=body)
    told = refused.json()
    error = told if isinstance(told["error"], str) else told["error"]
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
    if isinstance(read, OllamaRequest):
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
    *_, told = asked(shape, body).messages
    assert (told.role, told.name, told.text) == ("tool", CALLED, "18")
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
    with pytest.raises(InvalidRequest, match="names 'other', which is not in tools") as refused:
        asked(shape, body | {"tools": TOOLS[shape], "tool_choice": other})
    assert refused.value.param == param
    assert asked(shape, body | {"tools": TOOLS[shape], "tool_choice": any_one}).tool_choice == "required"
