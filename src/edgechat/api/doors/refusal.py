"""Early error responses, how a door says no: in the dialect's shape, at once, without cutting off who still sends."""

import asyncio
import re
from contextlib import suppress
from http import HTTPStatus
from urllib.parse import unquote

import msgspec
from starlette.types import Receive, Scope, Send

from edgechat.api.errors import Dialect, Problem, response

LINGER_S = 2.0  # a client that still sends would lose the answer if the connection closed under it
SMALL = 65_536  # bytes of body that are read to the end, so that the connection can serve the next request
_FIRST = re.compile(rb"([A-Z]+) ([^ ?\r\n]*)")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d{1,9})(?:\r\n|$)", re.IGNORECASE)


async def refuse(why: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with `why` before the body is read; then take in, for a moment, what is still on its way."""
    headers = {} if _is_small(scope) else {"Connection": "close"}
    if why.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    answer = response(scope, why, headers)
    await send({"type": "http.response.start", "status": why.status, "headers": answer.raw_headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": True})
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while (message := await receive())["type"] == "http.request" and message.get("more_body"):
                pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _is_small(scope: Scope) -> bool:
    """Whether the body is announced to be over soon."""
    found = dict(scope["headers"])
    length = found.get(b"content-length", b"0")
    return b"transfer-encoding" not in found and length.isdigit() and len(length) < 8 and int(length) <= SMALL


# ── below ASGI: a request is bytes, and so is the answer ──


def spoken(why: Problem, dialect: Dialect) -> bytes:
    """`why` as the last words of a connection."""
    body = msgspec.json.encode(dialect.shape(why))
    wait = "" if why.retry_after_s is None else f"Retry-After: {why.retry_after_s:.0f}\r\n"
    head = (
        f"HTTP/1.1 {why.status} {HTTPStatus(why.status).phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{wait}Connection: close\r\n\r\n"
    )
    return head.encode() + body


def first_words(request: bytes) -> tuple[str, str]:
    """The method and the path that `request` begins with, as the application will see them."""
    found = _FIRST.match(request)
    return (found[1].decode(), unquote(found[2].decode("latin-1"))) if found else ("", "")


def is_whole(request: bytes) -> bool:
    """Whether nothing more comes that would cut off the answer to `request`; False where that takes thought."""
    head, _, body = request.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return length is not None and int(length[1]) == len(body)
