"""openapi.json: what FastAPI finds in the routes, and what it cannot know: errors by dialect, streams, examples.

Examples of answers are not written down: they are what the dialects make of one specimen of an answer.
"""

import json
import re
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse

from edgechat.api.anthropic.messages import MessageReply
from edgechat.api.errors import Dialect, Problem
from edgechat.api.ollama.routes import ChatReply as OllamaChatReply
from edgechat.api.ollama.routes import GenerateReply
from edgechat.api.ollama.routes import model_object as ollama_model
from edgechat.api.openai.chat import ChatReply
from edgechat.api.openai.chat import model_object as openai_model
from edgechat.api.openai.completions import CompletionReply
from edgechat.api.reply import Part, Reply, put_together
from edgechat.api.responses.routes import ResponseReply
from edgechat.api.responses.wire import ResponsesRequest
from edgechat.api.routes import Facts, Need, Router
from edgechat.types import Delta, Done, GenRequest, ModelInfo, Sampling, Served, Timing, Usage

QUESTION = "What is the capital of France?"
TURNS = [{"role": "user", "content": QUESTION}]
PARTS: tuple[Part, ...] = (Delta("It is"), Delta(" Paris."))
DONE = Done("stop", "eos", Usage(26, 4, 12), Timing(0.3, 41.5, 31.2))
INFO = ModelInfo(4096, 16384, 1_060_000_000, 151_936, 620_000_000, "Q4_K", 2, "llama.cpp")
SERVED = Served("qwen1.5-0.5b-chat", "92aee1b1" * 8, "Q4_K", Sampling(), INFO, since=1_767_225_600)


CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"name": "get_weather", "description": "The weather in a city now"}


class Example(NamedTuple):
    """A request, and what answers it: a body, or what a dialect makes of the specimen; and `more` requests by name."""

    request: dict[str, Any] | None
    answer: Callable[[], Reply] | dict[str, Any]
    more: Mapping[str, dict[str, Any]] = {}

    @property
    def requests(self) -> dict[str, dict[str, Any]]:
        """All of them, the plain one first."""
        return {} if self.request is None else {"plain": self.request, **self.more}


def _responses() -> Reply:
    body = ResponsesRequest.model_validate({"input": QUESTION})
    return ResponseReply(SERVED, body, body.generation(SERVED.sampling))


EMBEDDED = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.0123, -0.0456]}],
    "model": "qwen3-embedding-0.6b",
    "usage": {"prompt_tokens": 8, "total_tokens": 8},
}
EXAMPLES: Mapping[tuple[str, str], Example] = {
    ("get", "/v1/models"): Example(None, {"object": "list", "data": [openai_model(SERVED)]}),
    ("post", "/v1/chat/completions"): Example(
        {"messages": TURNS},
        lambda: ChatReply(SERVED),
        {
            "streamed": {"messages": TURNS, "stream": True, "stream_options": {"include_usage": True}},
            "tools": {
                "messages": TURNS,
                "tools": [{"type": "function", "function": {**WEATHER, "parameters": CITY}}],
                "tool_choice": "auto",
            },
            "schema": {
                "messages": TURNS,
                "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": CITY}},
            },
        },
    ),
    ("post", "/v1/completions"): Example(
        {"prompt": "The capital of France", "max_tokens": 8},
        lambda: CompletionReply(SERVED, [GenRequest(())], with_usage=False, echoes=[""]),
    ),
    ("post", "/v1/responses"): Example(
        {"input": QUESTION},
        _responses,
        {
            "tools": {"input": QUESTION, "tools": [{"type": "function", **WEATHER, "parameters": CITY}]},
            "schema": {
                "input": QUESTION,
                "text": {"format": {"type": "json_schema", "name": "answer", "schema": CITY}},
            },
        },
    ),
    ("post", "/v1/embeddings"): Example({"input": QUESTION}, EMBEDDED),
    ("post", "/v1/messages"): Example(
        {"max_tokens": 100, "messages": TURNS},
        lambda: MessageReply(SERVED),
        {"tools": {"max_tokens": 100, "messages": TURNS, "tools": [{**WEATHER, "input_schema": CITY}]}},
    ),
    ("post", "/v1/messages/count_tokens"): Example({"messages": TURNS}, {"input_tokens": 26}),
    ("post", "/api/chat"): Example(
        {"messages": TURNS}, lambda: OllamaChatReply(SERVED), {"schema": {"messages": TURNS, "format": CITY}}
    ),
    ("post", "/api/generate"): Example({"prompt": QUESTION}, lambda: GenerateReply(SERVED)),
    ("get", "/api/tags"): Example(None, {"models": [ollama_model(SERVED)]}),
    ("post", "/tokenize"): Example({"content": "Hello!"}, {"tokens": [9707, 0], "count": 2}),
    ("post", "/detokenize"): Example({"tokens": [9707, 0]}, {"content": "Hello!"}),
    ("post", "/chat"): Example({"input": QUESTION}, {"reply": "It is Paris."}),
}
REFUSED = Problem(400, "temperature: input should be less than or equal to 2.", "invalid_request", "temperature")
AWAY = Problem(503, "the engine is starting again: try in a few seconds.", "model_not_ready", None, 2)


router = Router()


@router.page("/openapi.json", Facts(Need.KEY))
async def whole(request: Request) -> JSONResponse:
    return JSONResponse(request.app.openapi())


def tag_of(dialect: ModuleType) -> dict[str, str]:
    """A dialect's name, and what its file says of itself."""
    about = (dialect.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
    return {"name": dialect.__name__.rpartition(".")[2], "description": about}


def describe(app: FastAPI) -> dict[str, Any]:
    """The whole document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        document["tags"] = app.openapi_tags or []
        for name in ("HTTPValidationError", "ValidationError"):  # such answers do not exist here
            document["components"]["schemas"].pop(name, None)
        document["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
        }
        document["security"] = [{}, {"bearer": []}, {"key": []}]  # {}: where nobody made a key
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                _complete(operation, app.state.table.dialect(path), EXAMPLES.get((method, path)))
        app.openapi_schema = document
    return app.openapi_schema


def _complete(operation: dict[str, Any], dialect: Dialect, example: Example | None) -> None:
    answers = operation["responses"]
    answers.pop("422", None)
    for status, what, problem in (("4XX", "Refused", REFUSED), ("5XX", "Not now, or not at all", AWAY)):
        answers[status] = {"description": what, "content": _json(dialect.shape(problem))}
    if example is None:
        return
    if requests := example.requests:
        named = {name: {"value": value} for name, value in requests.items()}
        operation["requestBody"]["content"]["application/json"]["examples"] = named
    if callable(example.answer):
        reply = example.answer()
        answers["200"]["content"] = {
            **_json(_steady(json.dumps(reply.whole(put_together(PARTS, DONE))))),
            reply.media_type.partition(";")[0]: {"schema": {"type": "string"}, "example": _stream(example.answer())},
        }
    else:
        answers["200"]["content"] = _json(example.answer)


def _json(example: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": _like(example), "example": example}}


def _stream(reply: Reply) -> str:
    pieces = [*reply.begin(), *(piece for part in PARTS for piece in reply.part(part)), *reply.end(DONE)]
    return _steady_text(b"".join(pieces).decode())


def _steady(text: str) -> dict[str, Any]:
    steady: dict[str, Any] = json.loads(_steady_text(text))
    return steady


def _steady_text(text: str) -> str:
    """`text` with the same ids, times and durations every time."""
    text = re.sub(r"(?<=[_-])[0-9a-f]{24}\b", "0123456789abcdef01234567", text)
    text = re.sub(r'("created(?:_at)?": ?)\d+', rf"\g<1>{SERVED.since}", text)
    text = re.sub(r'("created_at": ?)"[^"]+"', r'\1"2026-01-01T00:00:00+00:00"', text)
    return re.sub(r'("total_duration": ?)\d+', r"\g<1>169700000", text)


def _like(example: Any) -> dict[str, Any]:
    """The plainest schema that `example` follows."""
    match example:
        case dict():
            properties = {name: _like(value) for name, value in example.items()}
            return {"type": "object", "properties": properties}
        case list():
            return {"type": "array", "items": _like(example[0]) if example else {}}
        case bool():
            return {"type": "boolean"}
        case int() | float():
            return {"type": "number"}
        case str():
            return {"type": "string"}
    return {}
