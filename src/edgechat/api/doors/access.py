"""Authentication and authorization: who sends a request, and whether the route it asks for is open to them.

A server to which nobody ever added a key, and which only this machine can reach, asks for none: then everybody is the
operator, and addresses tell clients apart.
"""

import hmac
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie

from starlette.types import ASGIApp, Receive, Scope, Send

from edgechat.api.doors.refusal import refuse
from edgechat.api.errors import Problem
from edgechat.api.routes import Need, facts_of
from edgechat.errors import ConfigError
from edgechat.keys import Key, Keys, Sessions, is_loopback
from edgechat.types import Caller

COOKIE = "edgechat_session"

NO_KEY = Problem(401, "A key is needed: send it as `Authorization: Bearer KEY`.", "invalid_api_key")
WRONG_KEY = Problem(401, "This key is not known here, or was revoked.", "invalid_api_key")
NOT_OPERATOR = Problem(403, "This needs an operator's key.", "operator_only")
SHUT = Problem(503, "The server's keys cannot be read; its log says why.", "keys_unreadable")


class Access:
    """ASGI middleware: puts the Caller into the request's state, or refuses."""

    def __init__(self, app: ASGIApp, keys: Keys, sessions: Sessions, behind_proxy: bool = False) -> None:
        self._app = app
        self._keys = keys
        self._sessions = sessions
        self._behind_proxy = behind_proxy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                found = self._decide(scope)
            except ConfigError:
                found = SHUT
            if isinstance(found, Problem):
                await refuse(found, scope, receive, send)
                return
            scope.setdefault("state", {})["caller"] = found
        await self._app(scope, receive, send)

    def _decide(self, scope: Scope) -> Caller | Problem:
        need = facts_of(scope).who
        address = (scope.get("client") or ("", 0))[0]
        if self._is_open(scope) or _has_card(scope):
            return Caller(address, operator=True)
        found = identify(scope["headers"], self._keys, self._sessions)
        if isinstance(found, Key):
            if need > Need.KEY and not found.operator:
                return NOT_OPERATOR
            return Caller(found.id, found.id, found.operator, found.name, found.models, found.limits)
        return Caller(address) if need == Need.PUBLIC else found

    def _is_open(self, scope: Scope) -> bool:
        local = (scope.get("server") or ("", None))[0]
        return is_loopback(local) and not self._behind_proxy and not self._keys.wanted


def _has_card(scope: Scope) -> bool:
    """Whether the request comes from a command on this machine, which read the server's card (presence.py)."""
    secret = getattr(scope["app"].state, "secret", None)
    sent = dict(scope["headers"]).get(b"x-edgechat-card", b"")
    return secret is not None and hmac.compare_digest(sent, secret.encode())


def identify(headers: Iterable[tuple[bytes, bytes]], keys: Keys, sessions: Sessions) -> Key | Problem:
    """Whose credentials these headers carry: a bearer token, an x-api-key, the page's cookie.

    The one place that looks for them. Several are fine if they all stand for the same key.
    """
    owners: list[Key | None] = []
    for name, value in headers:
        text = value.decode("latin-1")
        if name == b"authorization":
            scheme, _, secret = text.partition(" ")
            owners.append(keys.find(secret.strip()) if scheme.lower() == "bearer" else None)
        elif name == b"x-api-key":
            owners.append(keys.find(text.strip()))
        elif name == b"cookie" and (token := session_of(text)):
            id = sessions.find(token)
            owners.append(keys.by_id(id) if id else None)
    if not owners:
        return NO_KEY
    first = owners[0]
    return first if first is not None and all(owner == first for owner in owners) else WRONG_KEY


def session_of(cookies: str) -> str | None:
    """The page's session in a Cookie header."""
    try:
        morsel = SimpleCookie(cookies).get(COOKIE)
    except CookieError:
        return None
    return morsel.value if morsel else None
