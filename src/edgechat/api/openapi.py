"""OpenAPI: what FastAPI finds in the routes, and what they say of themselves: errors by dialect, streams, examples."""

import json
import re
from types import ModuleType
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse

from edgechat.api.errors import Dialect, Problem
from edgechat.api.examples import DONE, PARTS, SERVED, Example
from edgechat.api.reply import Reply, put_together
from edgechat.api.routes import Facts, Need, Router, Table

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
        table: Table = app.state.table
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
                _complete(operation, table.dialect(path), table.at(method.upper(), path).example)
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
    answer, again = example.answer(), example.answer()  # a reply is of use once
    if isinstance(answer, dict):
        answers["200"]["content"] = _json(answer)
        return
    assert not isinstance(again, dict)
    answers["200"]["content"] = {
        **_json(_steady(json.dumps(answer.whole(put_together(PARTS, DONE))))),
        again.media_type.partition(";")[0]: {"schema": {"type": "string"}, "example": _stream(again)},
    }


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
