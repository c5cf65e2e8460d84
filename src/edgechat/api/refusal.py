"""How a door says no: in the dialect's shape, at once, and without cutting off a client that still sends."""

import asyncio
from contextlib import suppress

from starlette.types import Receive, Scope, Send

from edgechat.api.errors import Problem, response

LINGER_S = 2.0  # a client that still sends would lose the answer if the connection closed under it
SMALL = 65_536  # bytes of body that are read to the end, so that the connection can serve the next request


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
