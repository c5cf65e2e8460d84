"""A model's handle: what one caller may do with it, and where each of their answers is signed in and out.

find(name, caller) ─► Handle ─► stream, embed   signed in: the end of the server waits for them, a watcher may refuse
                           ├─► ask, load        rights were checked when it was found
                           └─► keep             an operator's
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Protocol

import msgspec
import structlog

from edgechat.errors import EdgechatError, OperatorOnly, ShuttingDown, error_of, failed_of
from edgechat.types import (
    Answered,
    AnyEvent,
    Caller,
    Detokenize,
    Done,
    Embed,
    Failed,
    GenRequest,
    Model,
    Read,
    Served,
    Tokenize,
)

log = structlog.get_logger("serve")


class Watched(Protocol):
    """One answer that a Watcher follows. `request` is what may be asked for."""

    request: GenRequest

    def see(self, event: AnyEvent) -> AnyEvent:
        """An event goes by: it, or the Failed that ends the answer here."""
        ...

    async def end(self) -> None:
        """No more events come."""
        ...


class Watcher(Protocol):
    """Follows every answer of a server: whether it may be, what it uses."""

    async def begin(self, request: GenRequest, caller: Caller, model: str) -> Watched:
        """Raises what keeps `request` of `caller` from being answered by `model`."""
        ...


class Answers:
    """The answers under way of one server. `closed`: no more are begun."""

    def __init__(self) -> None:
        self.watcher: Watcher | None = None
        self.closed = False
        self._open = 0
        self._none = asyncio.Event()
        self._none.set()

    async def over(self, seconds: float) -> None:
        """Return when none is open, or after `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._none.wait()

    @asynccontextmanager
    async def signed(self, request: GenRequest, caller: Caller, model: str) -> AsyncIterator[Watched | None]:
        """An answer under way: in the watcher's book, and among those that the end of the server waits for."""
        if self.closed:
            raise ShuttingDown("the server ends: ask again when it is back.")
        watched = await self.watcher.begin(request, caller, model) if self.watcher else None
        self._open += 1
        self._none.clear()
        try:
            yield watched
        finally:
            self._open -= 1
            if not self._open:
                self._none.set()
            if watched:
                await watched.end()


class Handle:
    """The `Model` that a caller gets: another one, as this caller may use it."""

    def __init__(self, model: Model, caller: Caller, answers: Answers) -> None:
        self._model = model
        self._caller = caller
        self._answers = answers

    @property
    def served(self) -> Served:
        return self._model.served

    async def stream(self, request: GenRequest) -> AsyncGenerator[AnyEvent, None]:
        """The events of one answer, in the caller's realm and turn. Raises what their limits refuse, besides."""
        caller = self._caller
        asked = msgspec.structs.replace(request, client=self._client(request.user), realm=caller.realm)
        async with (
            self._answers.signed(asked, caller, self.served.name) as watched,
            aclosing(self._model.stream(watched.request if watched else asked)) as events,
        ):
            async for told in events:
                event = watched.see(told) if watched else told
                if isinstance(event, Done):
                    log.info("answered", **msgspec.to_builtins(event.usage), **msgspec.to_builtins(event.timing))
                yield event
                if event is not told:
                    return

    async def ask(self, question: Tokenize | Read | Detokenize) -> Answered:
        return await self._model.ask(question)

    async def embed(self, question: Embed) -> Answered:
        """The vectors, signed in as an answer is. Raises what the caller's limits refuse, besides."""
        asked = msgspec.structs.replace(question, client=self._client(question.user))
        async with self._answers.signed(GenRequest(()), self._caller, self.served.name) as watched:
            try:
                told = await self._model.embed(asked)
            except EdgechatError as error:
                if watched:
                    watched.see(failed_of(error))
                raise
            event = watched.see(told) if watched else told
            if isinstance(event, Failed):
                raise error_of(event)
            return told

    async def load(self) -> None:
        await self._model.load()

    def keep(self, seconds: float) -> None:
        if not self._caller.operator:
            raise OperatorOnly("how long a model stays in memory is an operator's decision.")
        self._model.keep(seconds)

    def _client(self, user: str) -> str:
        """Whose turn it is: one of the caller's people, where it names them."""
        return f"{self._caller.client}/{user}"
