"""The routing table: every route states its own facts, and the doors look them up before a route is reached.

    @router.post("/chat/completions", Facts(Need.KEY, Asks.NOW), "Answer a conversation")
         │
         └─► Table ─┬─ who may ────────────────► doors/access.py
                    ├─ how much, of what kind ─► doors/guard.py, strict_json.py
                    ├─ asks for an answer ─────► doors/drain.py (pause), doors/doorstep.py (places)
                    └─ dialect, words, example ► errors.py, openapi.py

A route without `Facts`, and facts without `who`, do not type-check, and do not run. Where two routes match a path, the
stricter need holds; what no route matches needs a key. tests/api/doors/access.toml lists every route's need once more.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum
from re import Pattern
from typing import Any, Protocol, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import BaseRoute
from starlette.types import Scope

from edgechat.api.addresses import fetched
from edgechat.api.errors import OPENAI, Dialect
from edgechat.api.examples import Example
from edgechat.api.ignored import header_of
from edgechat.api.strict_json import MOST_GROUPS, strict_json
from edgechat.errors import RequestError
from edgechat.fetch.errand import Fetcher

MAX_BODY = 4 << 20  # bytes
MAX_SHOWN = 24 << 20  # bytes of a body with pictures in it: base64
LARGE = 1 << 16  # bytes; parsing more would hold up the loop
JSON = "application/json"
ANY: frozenset[str] = frozenset()

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class Need(IntEnum):
    """What a route asks of its caller. A higher need includes the lower ones."""

    PUBLIC = 0
    KEY = 1
    OPERATOR = 2


class Asks(Enum):
    """Whether a route asks a model for an answer, and where that comes."""

    NOTHING = 0
    LATER = 1  # by another request: none is taken while the server is paused
    NOW = 2  # in the response: whoever asks also holds one of the gate's places until its last byte


@dataclass(frozen=True, slots=True)
class Facts:
    """What a route says of itself.

    `kinds` are the media types that its body may have; `ANY` reads JSON whatever it is called: clients call it
    anything, or nothing. A page elsewhere can send `text/plain` and forms unasked (CSRF): those are kinds for a POST
    only where no browser can be the sender, by doors/guard.py.
    """

    who: Need
    asks: Asks = Asks.NOTHING
    max_body: int = MAX_BODY  # bytes
    most_groups: int = MOST_GROUPS  # objects and lists of a JSON body
    kinds: frozenset[str] = frozenset({JSON})
    words: Mapping[str, str] = field(default_factory=dict)  # what it calls OpenAI's chat parameters, in errors
    example: Example | None = None


NOWHERE = Facts(Need.KEY)  # where no route is


class StrictRequest(Request):
    """A request whose JSON is UTF-8, without NaN or lone surrogates, and neither deep nor manifold beyond reason.

    An object has each of its names once: of two equal ones, which of them counts is anybody's guess.
    """

    most_groups = MOST_GROUPS
    known: Any = None  # the JSON, where it was looked at before

    async def json(self) -> Any:
        if self.known is not None:
            return self.known
        body, most = await self.body(), self.most_groups
        try:
            return strict_json(body, most) if len(body) < LARGE else await asyncio.to_thread(strict_json, body, most)
        except (ValueError, RecursionError) as error:  # msgspec's DecodeError is a ValueError
            raise json.JSONDecodeError(str(error).rstrip("."), "", 0) from error


class Route(APIRoute):
    """A route that knows its facts and reads StrictRequests."""

    facts: Facts
    dialect: Dialect
    prefix: str

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            scope = request.scope if self.facts.kinds else _named_json(request.scope)
            request = StrictRequest(scope, request.receive)
            request.most_groups = self.facts.most_groups
            try:
                if self.facts.max_body == MAX_SHOWN:
                    await _bring_pictures(request)
                response = await handler(request)
                response.headers.update(header_of(request))
                return response
            except RequestError as error:
                error.param = self.facts.words.get(error.param or "", error.param)
                raise

        return strict


async def _bring_pictures(request: StrictRequest) -> None:
    """Fetch what the body has addresses of, where hosts are listed. Raises InvalidMedia."""
    fetcher: Fetcher = request.app.state.fetcher
    if fetcher.hosts:
        with suppress(json.JSONDecodeError):  # told by whoever reads it
            request.known = await fetched(await request.json(), fetcher)


def _named_json(scope: Scope) -> Scope:
    """`scope`, whose body calls itself JSON."""
    headers = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
    return {**scope, "headers": [*headers, (b"content-type", JSON.encode())]}


class Decorator(Protocol):
    """Adds what it decorates, and leaves it as it is."""

    def __call__(self, endpoint: Endpoint, /) -> Endpoint: ...


class Router:
    """The routes of one file, which speaks one dialect. `more` is what FastAPI's own decorators take."""

    def __init__(self, prefix: str = "", dialect: Dialect = OPENAI) -> None:
        self.api = APIRouter(prefix=prefix, route_class=Route)
        self._prefix, self._dialect = prefix, dialect

    def get(self, path: str, facts: Facts, summary: str, **more: Any) -> Decorator:
        return self._added(path, facts, methods=["GET"], summary=summary, **more)

    def post(self, path: str, facts: Facts, summary: str, **more: Any) -> Decorator:
        return self._added(path, facts, methods=["POST"], summary=summary, **more)

    def put(self, path: str, facts: Facts, summary: str, **more: Any) -> Decorator:
        return self._added(path, facts, methods=["PUT"], summary=summary, **more)

    def patch(self, path: str, facts: Facts, summary: str, **more: Any) -> Decorator:
        return self._added(path, facts, methods=["PATCH"], summary=summary, **more)

    def delete(self, path: str, facts: Facts, summary: str, **more: Any) -> Decorator:
        return self._added(path, facts, methods=["DELETE"], summary=summary, **more)

    def page(self, path: str, facts: Facts) -> Decorator:
        """What is no part of the API that /openapi.json describes."""
        return self._added(path, facts, methods=["GET", "HEAD"], include_in_schema=False)

    def _added(self, path: str, facts: Facts, **more: Any) -> Decorator:
        def added(endpoint: Endpoint) -> Endpoint:
            self.api.add_api_route(path, endpoint, **more)
            route = self.api.routes[-1]
            assert isinstance(route, Route)
            route.facts, route.dialect, route.prefix = facts, self._dialect, self._prefix
            return endpoint

        return added


@dataclass(frozen=True, slots=True)
class _Row:
    """A route as the application has it: its whole path and what matches it."""

    path: str
    pattern: Pattern[str]
    methods: frozenset[str]
    route: Route


class Table:
    """The facts of every route of one application, by method and path.

    `placed` are those that hold a place at the gate: the gate looks there before there is a request.
    """

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        """Raises TypeError for a route that states no facts, or cannot be looked up as it is asked."""
        self._rows = list(_rows(routes))
        plain = [row for row in self._rows if "{" not in row.path]
        self._known = {(method, row.path): self._match(method, row.path) for row in plain for method in row.methods}
        foreign = [row.route for row in self._rows if row.route.dialect is not OPENAI]
        self._dialects = {route.prefix: route.dialect for route in foreign}  # where no route is, too
        self._dialects |= {row.path.partition("/{")[0]: row.route.dialect for row in self._rows}
        self._deepest = max((path.count("/") + 1 for path in self._dialects), default=0)
        self.placed = {at for at, facts in self._known.items() if facts.asks is Asks.NOW}  # (method, path)

    def at(self, method: str, path: str) -> Facts:
        """What holds for a request. A method that nobody takes there is met by the strictest of that path."""
        method = "GET" if method == "HEAD" else method
        return self._known.get((method, path)) or self._match(method, path)

    def dialect(self, path: str) -> Dialect:
        """What is spoken at `path`: as at the route that its first parts name, and OpenAI's where none does."""
        if path not in self._dialects:
            parts = path.split("/", self._deepest)[: self._deepest]
            heads = ("/".join(parts[:end]) for end in range(len(parts), 0, -1))
            path = next((head for head in heads if head in self._dialects), "")
        return self._dialects.get(path, OPENAI)

    def meant(self, path: str) -> str | None:
        """The route that a client means by `path` whose base address has a part too few or too many."""
        known = [there for _, there in self._known if there.count("/") > 1]
        near = [there for there in known if path.endswith(there) or (there.endswith(path) and len(path) > 1)]
        return min(near, key=lambda there: (not there.startswith("/v1/"), there), default=None)

    def _match(self, method: str, path: str) -> Facts:
        """By the routes' own patterns, in their order, as the framework will go: no spelling leads round a need."""
        here = [row for row in self._rows if row.pattern.match(path)]
        found = [row.route.facts for row in here if method in row.methods] or [row.route.facts for row in here]
        return replace(found[0], who=max(facts.who for facts in found)) if found else NOWHERE


def _rows(routes: Iterable[BaseRoute]) -> Iterator[_Row]:
    for context in iter_route_contexts(list(routes)):
        route = context.original_route
        if not isinstance(route, Route):
            raise TypeError(f"{context.path} states no facts: add it by a Router.")
        if route.facts.asks is Asks.NOW and "{" in route.path:
            raise TypeError(f"{context.path} holds a place, so the gate looks for its path: it has no parameters.")
        yield _Row(context.path or "", context.path_regex, frozenset(context.methods or ()), route)


def facts_of(scope: Scope) -> Facts:
    """What the route that `scope` leads to says of itself; looked up once a request."""
    state = scope.setdefault("state", {})
    if "facts" not in state:
        table: Table = scope["app"].state.table
        state["facts"] = table.at(scope["method"], scope["path"])
    facts: Facts = state["facts"]
    return facts
