"""Request ids: the client's own where it is fit to be logged, else a new one; it is in every answer and log line."""

import re
import secrets

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgechat.api.errors import dialect_of

HEADER = "X-Request-Id"
_FIT = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


class RequestId:
    """ASGI middleware: the id is in `scope["state"]`, in every log line of the request and in the answer's headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        id = request_id(dict(scope["headers"]).get(HEADER.lower().encode(), b""))
        scope.setdefault("state", {})["request_id"] = id

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers[HEADER] = id
                if header := dialect_of(scope).id_header:
                    headers[header] = id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=id):
            await self._app(scope, receive, named)


def request_id(given: bytes) -> str:
    """`given` if it is short and harmless, else 128 random bits."""
    return given.decode() if _FIT.fullmatch(given) else f"req_{secrets.token_hex(16)}"
