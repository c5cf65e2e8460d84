"""Models in workers of this machine: how they are found, and what is asked of them."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from edgechat.errors import error_of
from edgechat.hub.stored import Stored
from edgechat.models.keeper import Keeper
from edgechat.models.library import Library
from edgechat.types import (
    Answered,
    AnyEvent,
    AnyQuestion,
    Detokenize,
    Embed,
    Failed,
    GenRequest,
    Read,
    Served,
    Tokenize,
)


class Local:
    """The `Model` whose file is on this machine. What is asked of it loads it."""

    def __init__(self, stored: Stored, library: Library, keeper: Keeper) -> None:
        self.name = stored.name
        self._stored = stored
        self._library = library
        self._keeper = keeper
        self._served: Served | None = None  # looked up once

    @property
    def served(self) -> Served:
        self._served = self._served or self._look()
        return self._served

    def _look(self) -> Served:
        resident = self._keeper.resident(self.name)
        if resident is None or resident.info is None:
            return self._library.served(self._stored, None)
        # For a moment after an update or a tuning, what answers is still the version before.
        return self._library.served(self._stored, resident.info, resident.wanted.load.digest)

    def stream(self, request: GenRequest) -> AsyncGenerator[AnyEvent, None]:
        return self._keeper.stream(self._library.wanted(self._stored), request)

    async def ask(self, question: Tokenize | Read | Detokenize) -> Answered:
        return await self._answered(question)

    async def embed(self, question: Embed) -> Answered:
        return await self._answered(question)

    async def _answered(self, question: AnyQuestion) -> Answered:
        async with aclosing(self._keeper.stream(self._library.wanted(self._stored), question)) as events:
            async for event in events:
                if isinstance(event, Failed):
                    raise error_of(event)
                if isinstance(event, Answered):
                    return event
        raise AssertionError("every question has an answer")

    async def load(self) -> None:
        await self._keeper.load(self._library.wanted(self._stored))
        self._served = None  # it may have turned out otherwise

    def keep(self, seconds: float) -> None:
        self._keeper.keep(self.name, seconds)


class Locals:
    """The kind of models that the store has: `Kind` of runtime.py."""

    def __init__(self, library: Library, keeper: Keeper) -> None:
        self._library = library
        self._keeper = keeper

    def find(self, name: str) -> Local | None:
        """The model called `name`; "" is the default."""
        stored = self._library.find(name)
        return Local(stored, self._library, self._keeper) if stored else None

    def names(self) -> list[str]:
        """What can be asked for, the default first, aliases last."""
        return self._library.names()
