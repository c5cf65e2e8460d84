"""From error class to HTTP status and OpenAI's error body: the only place that knows both.

After the first byte of an answer an error can no longer be a status; then `body` goes out as an event (sse.py).
"""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from edgechat import errors
from edgechat.api.wire import NEUTRAL

# A class without a line takes its nearest ancestor's.
STATUS: dict[type[errors.EdgechatError], int] = {
    errors.EdgechatError: 500,
    errors.RequestError: 400,
    errors.ModelNotFound: 404,
    errors.ServiceError: 503,
    errors.QueueFull: 429,
    errors.NoSpace: 507,
}
_TYPES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
RETRY_AFTER_S = 2

log = structlog.get_logger("api")


def status_of(error: errors.EdgechatError) -> int:
    """The HTTP status for `error`."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def body(message: str, status: int, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """OpenAI's error object."""
    kind = _TYPES.get(status) or ("invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def body_of(error: errors.EdgechatError) -> dict[str, Any]:
    """OpenAI's error object for `error`."""
    return body(str(error), status_of(error), error.code, getattr(error, "param", None))


def install(app: FastAPI) -> None:
    """Answer every exception with that shape: no traceback, path or key ever leaves."""

    @app.exception_handler(errors.EdgechatError)
    async def _ours(_: Request, error: errors.EdgechatError) -> JSONResponse:
        status = status_of(error)
        wait = getattr(error, "retry_after_s", None) or RETRY_AFTER_S
        headers = {"Retry-After": str(math.ceil(wait))} if status in (429, 503) else None
        return JSONResponse(body_of(error), status, headers)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse(body_of(from_validation(error)), 400)

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse(body(f"{error.detail}.", error.status_code), error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def _bug(request: Request, error: Exception) -> JSONResponse:
        log.error("a bug", path=request.url.path, exc_info=error)
        return JSONResponse(body("edgechat failed inside; the log says where.", 500, "internal_error"), 500)


def from_validation(error: RequestValidationError) -> errors.InvalidRequest:
    """The first complaint, with the field's dotted name."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return errors.InvalidRequest(f"the body is not valid JSON: {first['ctx']['error']}.")
    param = ".".join(_place(first["loc"], error.body)) or None
    if first["type"] == "extra_forbidden":
        return errors.InvalidRequest(_not_honoured(str(param)), param)
    what = first["msg"].removeprefix("Value error, ")
    return errors.InvalidRequest(f"{param or 'the body'}: {what[:1].lower()}{what[1:]}.", param)


def _place(location: Sequence[str | int], body: Any) -> Iterator[str]:
    """The parts of a complaint's location that are in the body or missing from it; the rest names pydantic's types."""
    at = body
    for part in location:
        if isinstance(at, dict) and (part in at or part == location[-1]):
            yield str(part)
            at = at.get(part)
        elif isinstance(at, list) and isinstance(part, int) and part < len(at):
            yield str(part)
            at = at[part]


def _not_honoured(param: str) -> str:
    if values := NEUTRAL.get(param):
        return f"{param} is honoured only as {' or '.join(json.dumps(value) for value in values)} by this release."
    return f"{param} is not a parameter of this route."
