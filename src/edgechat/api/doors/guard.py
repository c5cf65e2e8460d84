"""Protection from CSRF and DNS rebinding: where a request may come from and what it may look like, decided first.

Any web page that the user visits can send requests to 127.0.0.1. So: only names that this server is known by are
accepted as Host (against DNS rebinding), no foreign Origin, and state changes only as JSON, which a foreign page cannot
send unasked. Where clients call JSON anything or nothing, that goes for whoever brings what browsers add by themselves.
Who sends it is the next door's question (access.py).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgechat.api.doors.refusal import refuse
from edgechat.api.errors import Problem
from edgechat.api.routes import JSON, NOWHERE, Facts, facts_of

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
SAFE = ("GET", "HEAD", "OPTIONS")
BROWSERS = frozenset({"origin", "referer", "cookie", "sec-fetch-site"})  # what they send without being asked
MAX_HEADERS = 100
MAX_URL = 8_192  # bytes

Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Rules:
    """What is let in. `hosts` are names without a port, lower case; `origins` are whole: https://app.example.org."""

    hosts: frozenset[str] = frozenset(LOOPBACK)
    origins: frozenset[str] = frozenset()

    @classmethod
    def of(cls, hosts: Collection[str], origins: Collection[str]) -> "Rules":
        """The rules with further `hosts` and `origins`."""
        return cls(frozenset((*LOOPBACK, *(host.lower() for host in hosts))), frozenset(origins))


class Guard:
    """ASGI middleware; `refusal` holds the rules, and is pure."""

    def __init__(self, app: ASGIApp, rules: Rules | None = None) -> None:
        self._app = app
        self._rules = rules or Rules()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] != "http":
            await self._app(scope, receive, send)
        elif why := self._refusal(scope):
            await refuse(why, scope, receive, send)
        else:
            await self._app(scope, _Limited(receive, facts_of(scope).max_body), send)

    def _refusal(self, scope: Scope) -> Problem | None:
        if len(scope["headers"]) > MAX_HEADERS:
            return Problem.http(431, f"A request has at most {MAX_HEADERS} headers.")
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_URL:
            return Problem.http(414, f"The address is longer than {MAX_URL} bytes.")
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        local = (scope.get("server") or ("", None))[0]
        return refusal(scope["method"], headers, self._rules, local, facts_of(scope))


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
    method: str, headers: Headers, rules: Rules = Rules(), local: str = "", facts: Facts = NOWHERE
) -> Problem | None:
    """Why a request may not come in to the route with these `facts`; None lets it in.

    `headers` have lower-case names. `local` is the address that the client connected to: it is always a good name,
    since nobody can make a foreign page's name lead a browser there and still send the bare address as Host.
    """
    pairs = list(headers)
    found = dict(pairs)
    named = [value for name, value in pairs if name == "host"]
    if len(named) != 1:
        return Problem.http(400, "A request names exactly one Host.")
    if "transfer-encoding" in found and "content-length" in found:  # a proxy may read its end elsewhere (smuggling)
        return Problem.http(400, "A body has a Content-Length or a Transfer-Encoding, not both.")
    name = _name(named[0])
    if name not in rules.hosts and not (local and name == (f"[{local}]" if ":" in local else local)):
        return Problem.http(
            403, "This Host is not served here: use 127.0.0.1 or localhost, or list the name in `hosts`."
        )
    if method in SAFE:
        return None
    origin = found.get("origin")
    if origin not in rules.origins:
        is_other = origin is not None and not _same(origin, named[0])
        if is_other or found.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return Problem.http(
                403, "Another page's requests are not answered; the setting cors_origins lets its requests in."
            )
    return _unreadable(method, found, facts)


def _unreadable(method: str, found: dict[str, str], facts: Facts) -> Problem | None:
    """Why a body would not be read. Only a POST needs one: no page can send another method elsewhere unasked."""
    has_body = method == "POST" or found.get("content-length", "0") != "0" or "transfer-encoding" in found
    kinds = facts.kinds or (frozenset({JSON}) if BROWSERS.intersection(found) else None)
    if has_body and kinds and found.get("content-type", "").partition(";")[0].strip().lower() not in kinds:
        return Problem.http(415, f"Send the body as {' or '.join(sorted(kinds))}.")
    if found.get("content-encoding", "").strip().lower() not in ("", "identity"):
        return Problem.http(415, "Send the body without Content-Encoding.")
    length = found.get("content-length", "0")
    if not length.isdecimal() or int(length[:20]) > facts.max_body:
        return Problem.http(413, f"The body is larger than {facts.max_body} bytes.")
    return None


def _same(origin: str, host: str) -> bool:
    parts = urlsplit(origin)
    return parts.scheme in ("http", "https") and parts.netloc == host


def _name(host: str) -> str:
    """The Host header without its port; nothing is decoded or guessed."""
    name, colon, port = host.rpartition(":")
    return name.lower() if colon and port.isdecimal() else host.lower()
