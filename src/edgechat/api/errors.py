"""Error handling: from error class to HTTP status, and from there to the error body of the dialect that was spoken.

    EdgechatError ─► Problem ─► Dialect.shape ─► body
    HTTPException ─►    │                          ├─ a response with the problem's status
    the guard     ─►    ┘                          └─ after the first byte of an answer: an event of its stream

This file is the only place that knows statuses. A dialect's own shape is in its folder; all else speaks OpenAI's.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Scope

from edgechat import errors
from edgechat.i18n import t

# Every class of errors.py has a row: a test holds it.
STATUS: dict[type[errors.EdgechatError], int] = {
    errors.EdgechatError: 500,
    errors.ConfigError: 503,  # a model that does not fit, found when somebody asked for it
    errors.UnknownName: 500,
    errors.StorageError: 503,
    errors.NoSpace: 507,
    errors.HistoryDamaged: 503,
    errors.AddressInUse: 500,
    errors.HomeInUse: 500,
    errors.HubError: 502,
    errors.Offline: 503,
    errors.HubUnreachable: 502,
    errors.NotOnHub: 502,
    errors.UnsafeListing: 502,
    errors.HashMismatch: 502,
    errors.ModelError: 503,
    errors.ModelDamaged: 503,
    errors.ModelFileInvalid: 503,
    errors.ModelUnsupported: 503,
    errors.TemplateInvalid: 503,
    errors.RequestError: 400,
    errors.InvalidRequest: 400,
    errors.UnsupportedMedia: 400,
    errors.InvalidMedia: 400,
    errors.ModelNotFound: 404,
    errors.OperatorOnly: 403,
    errors.ContextLengthExceeded: 400,
    errors.NotFound: 404,
    errors.ResponseGone: 400,
    errors.Stale: 409,
    errors.KeyReused: 422,
    errors.RequestRefused: 400,
    errors.ServiceError: 503,
    errors.QueueFull: 429,
    errors.LimitReached: 429,
    errors.NotReady: 503,
    errors.EngineFailed: 503,
    errors.Paused: 503,
    errors.ShuttingDown: 503,
    errors.Interrupted: 503,
    errors.EngineOutOfMemory: 503,
}
RETRY_AFTER_S = 2
ABSENT = ("missing", "value_error")  # complaints that may be about a field that is not there
# Pydantic's words for what JSON calls otherwise.
PLAIN = {
    "dict_type": "input should be an object",
    "model_type": "input should be an object",
    "model_attributes_type": "input should be an object",
    "list_type": "input should be an array",
    "union_tag_not_found": "an object needs its type",
}

log = structlog.get_logger("api")


class Problem(NamedTuple):
    """What goes wrong in a request, before it has a dialect's shape. `code` is stable; `message` is one line."""

    status: int
    message: str
    code: str
    param: str | None = None
    retry_after_s: float | None = None
    current: Any = None  # what a stale client should have looked at

    @classmethod
    def of(cls, error: errors.EdgechatError) -> "Problem":
        """The problem that `error` is."""
        status, wait = STATUS[type(error)], getattr(error, "retry_after_s", None)
        if status in (429, 503):
            wait = wait or RETRY_AFTER_S
        current = msgspec.to_builtins(getattr(error, "current", None))
        return cls(status, str(error), error.code, getattr(error, "param", None), wait, current)

    @classmethod
    def http(cls, status: int, message: str, code: str | None = None) -> "Problem":
        """A refusal by the rules of HTTP; its code is the status's name, such as `method_not_allowed`."""
        return cls(status, message, code or HTTPStatus(status).name.lower())


# ── shapes ──

Shape = Callable[[Problem], dict[str, Any]]

_OPENAI = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def openai(problem: Problem) -> dict[str, Any]:
    """OpenAI's error object."""
    kind = _OPENAI.get(problem.status) or ("invalid_request_error" if problem.status < 500 else "server_error")
    return {"error": {"message": problem.message, "type": kind, "param": problem.param, "code": problem.code}}


class Dialect(NamedTuple):
    """How a family of clients hears of a problem."""

    shape: Shape
    id_header: str | None = None  # where its clients look for the request's id; its errors then name it, too


OPENAI = Dialect(openai)


def dialect_of(scope: Scope) -> Dialect:
    """The dialect that is spoken at the path of `scope`."""
    dialect: Dialect = scope["app"].state.table.dialect(scope["path"])
    return dialect


def response(scope: Scope, problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """`problem` as an answer to the request of `scope`."""
    dialect = dialect_of(scope)
    body = dialect.shape(problem._replace(message=t(problem.message)))
    if dialect.id_header:
        body["request_id"] = scope.get("state", {}).get("request_id")
    if problem.current is not None:
        body["current"] = problem.current
    wait = {} if problem.retry_after_s is None else {"Retry-After": str(math.ceil(problem.retry_after_s))}
    return JSONResponse(body, problem.status, {**wait, **(headers or {})})


# ── from exceptions ──


def install(app: FastAPI) -> None:
    """Answer every exception with such a body: no traceback, path or key ever leaves."""

    @app.exception_handler(errors.EdgechatError)
    async def _ours(request: Request, error: errors.EdgechatError) -> JSONResponse:
        return response(request.scope, Problem.of(error))

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return response(request.scope, Problem.of(from_validation(error)))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        return response(request.scope, Problem.http(error.status_code, _said(request, error)), error.headers)

    @app.exception_handler(Exception)
    async def _bug(request: Request, error: Exception) -> JSONResponse:
        log.error("a bug", path=request.url.path, exc_info=error)
        problem = Problem(500, "edgechat failed inside; the log says where.", errors.EdgechatError.code)
        # This answer goes out above every middleware, so it names its request itself.
        return response(request.scope, problem, {"X-Request-Id": getattr(request.state, "request_id", "")})


def _said(request: Request, error: HTTPException) -> str:
    """What a refusal by the framework says: its own words where it has any, else which way to go."""
    if error.detail != HTTPStatus(error.status_code).phrase:
        return f"{error.detail}."
    match error.status_code:
        case 404 if meant := request.app.state.table.meant(request.url.path):
            return f"There is no {request.url.path} here, but {meant} is: look at the client's base URL."
        case 404:
            return f"There is no {request.url.path} here; /openapi.json lists the routes."
        case 405:
            allowed = (error.headers or {}).get("Allow", "another method")
            return f"{request.url.path} does not take {request.method}: use {allowed}."
    return f"{error.detail}."


def from_validation(error: RequestValidationError) -> errors.RequestError:
    """The aptest complaint about the first wrong field, with the field's dotted name."""
    first = _aptest(error.errors(), error.body)
    if first["type"] == "json_invalid":
        return errors.InvalidRequest(f"the body is not valid JSON: {first['ctx']['error']}.")
    param = ".".join(_place(first, error.body)) or None
    if first["type"] == "extra_forbidden":
        return errors.InvalidRequest(f"{param} is not a parameter of this route.", param)
    if first["type"] == "not_honoured":
        return errors.InvalidRequest(f"{param} is {first['msg']}.", param)
    if first["type"] == errors.UnsupportedMedia.code:
        return errors.UnsupportedMedia(f"{param}: {first['msg']}.", param)
    if first["type"] == errors.InvalidMedia.code:
        return errors.InvalidMedia(f"{param}: {first['msg']}.", param)
    if first["type"] == "union_tag_invalid":
        return errors.InvalidRequest(f"{param}: its type should be {first['ctx']['expected_tags']}.", param)
    what = PLAIN.get(first["type"], first["msg"].removeprefix("Value error, "))
    return errors.InvalidRequest(f"{param or 'the body'}: {what[:1].lower()}{what[1:]}.", param)


def _aptest(complaints: Sequence[dict[str, Any]], body: Any) -> dict[str, Any]:
    """Where a value may be of several kinds, each kind complains: the one that the value was meant for knows best.

    That one does not say "another kind", or says it of something deeper inside.
    """
    same = [complaint for complaint in complaints if complaint["loc"][:2] == complaints[0]["loc"][:2]]
    places = [tuple(_place(complaint, body)) for complaint in same]

    def aptness(at: int) -> tuple[bool, int]:
        place, kind = places[at], same[at]["type"]
        inside = any(len(other) > len(place) and other[: len(place)] == place for other in places)
        return not (kind.endswith("_type") or (kind == "literal_error" and inside)), len(place)

    return same[max(range(len(same)), key=aptness)]


def _place(complaint: dict[str, Any], body: Any) -> Iterator[str]:
    """The parts of a complaint's location that are in the body or missing from it; the rest names pydantic's types."""
    at = body
    for part in complaint["loc"]:
        if isinstance(at, dict) and (part in at or (complaint["type"] in ABSENT and part == complaint["loc"][-1])):
            yield str(part)
            at = at.get(part)
        elif isinstance(at, list) and isinstance(part, int) and part < len(at):
            yield str(part)
            at = at[part]
