"""Who may come in, decided before anything else sees the request.

Any web page that the user visits can send requests to 127.0.0.1. So: only names of this machine are accepted as Host
(against DNS rebinding), no foreign Origin, and state changes only as JSON, which a foreign page cannot send unasked.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgechat.api.errors import Problem, response

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
SAFE = ("GET", "HEAD", "OPTIONS")
MAX_BODY = 4 << 20  # bytes

Refusal = tuple[int, str]


class Guard:
    """ASGI middleware; `refusal` holds the rules, and is pure."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = LOOPBACK, max_body: int = MAX_BODY) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        refused = refusal(scope["method"], headers, self._hosts, self._max_body)
        if refused is not None:
            await response(scope, Problem.http(*refused), {"Connection": "close"})(scope, receive, send)
            return
        await self._app(scope, _Limited(receive, self._max_body), send)


class _Limited:
    """`receive`, cut off after `most` bytes of body: a length that was not announced is counted."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive = receive
        self._most = most
        self._seen = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
            if self._seen > self._most:
                raise HTTPException(413, f"The body is larger than {self._most} bytes")
        return message


def refusal(
    method: str,
    headers: Iterable[tuple[str, str]],
    hosts: frozenset[str] = frozenset(LOOPBACK),
    max_body: int = MAX_BODY,
) -> Refusal | None:
    """Why a request may not come in, as (status, message); None lets it in. `headers` have lower-case names."""
    pairs = list(headers)
    found = dict(pairs)
    named = [value for name, value in pairs if name == "host"]
    if len(named) != 1:
        return 400, "A request names exactly one Host."
    if _name(named[0]) not in hosts:
        return 403, "This Host is not served here: open the page under 127.0.0.1 or localhost."
    if method in SAFE:
        return None
    origin = found.get("origin")
    if origin is not None and (urlsplit(origin).scheme not in ("http", "https") or urlsplit(origin).netloc != named[0]):
        return 403, "Another page's requests are not answered."
    if found.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return 403, "Another page's requests are not answered."
    if found.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return 415, "Send the body as application/json."
    if found.get("content-encoding", "identity") != "identity":
        return 415, "Send the body without Content-Encoding."
    length = found.get("content-length", "0")
    if not length.isdecimal() or int(length[:20]) > max_body:
        return 413, f"The body is larger than {max_body} bytes."
    return None


def _name(host: str) -> str:
    """The Host header without its port; nothing is decoded or guessed."""
    name, colon, port = host.rpartition(":")
    return name.lower() if colon and port.isdecimal() else host.lower()
