"""Answers under way: one record of each, from its sign-in to its end, for everybody who watches.

    signed ─► (a watcher may refuse) ─► see every event ─► over      the end of the server waits until none is left
                                          └─► speaks: its first token

The record sees each event once; figures, traces, limits and the dashboard read what it saw.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Literal

import msgspec
import structlog

from edgechat.errors import Interrupted, ShuttingDown
from edgechat.types import (
    Answered,
    AnyEvent,
    Called,
    Caller,
    Delta,
    Done,
    Ending,
    Failed,
    GenRequest,
    Prefill,
    Reasoning,
)

Phase = Literal["waiting", "reading", "writing"]

log = structlog.get_logger("serve")


class Answer:
    """One answer under way, and what was seen of it. Times are in seconds of the monotonic clock."""

    def __init__(
        self, id: int, request: GenRequest, caller: Caller, model: str, speaks: Callable[["Answer"], None]
    ) -> None:
        """`speaks` is called at its first token."""
        self._speaks = speaks
        self.id = id
        self.request = request  # as it may be asked: a watcher may bound it
        self.caller = caller
        self.model = model
        self.asked = time.monotonic()
        self.spoke: float | None = None  # its first token
        self.phase: Phase = "waiting"
        self.read = self.total = 0  # prompt tokens
        self.prefilled = 0  # those of them that had to be computed, again where it gave up its place
        self.said = 0  # pieces of the answer, of about a token each
        self.ending: Ending | None = None
        self.stopped = False  # by the operator: its next event is an error

    def see(self, event: AnyEvent) -> AnyEvent:
        """Take in what goes by: it, or the `Failed` that ends the answer here."""
        if self.stopped and not isinstance(event, Done):
            event = Failed(Interrupted.code, "the operator ended this answer.")
        match event:
            case Delta() | Reasoning() | Called():
                self.said += 1
                self.phase = "writing"
                if self.spoke is None:
                    self.spoke = time.monotonic()
                    self._speaks(self)
            case Prefill(done=done, total=total):
                self.prefilled += max(0, done - self.read) if self.total else 0  # the first one tells what was held
                self.phase, self.read, self.total = "reading", done, total
            case Done() | Answered() | Failed():
                self.ending = event
        return event


class Watcher:
    """Follows every answer of a server: whether it may be, what it uses. This one lets them pass."""

    async def begin(self, answer: Answer) -> None:
        """Raises what keeps it from being answered; may bound its request."""

    def speaks(self, answer: Answer) -> None:
        """It has just said its first word."""

    async def end(self, answer: Answer) -> None:
        """It is over, however it ended."""


class Answers:
    """All of one server, by id. `closed`: no more are begun."""

    def __init__(self) -> None:
        self.open: dict[int, Answer] = {}
        self.watcher = Watcher()
        self.closed = False
        self._none = asyncio.Event()
        self._none.set()
        self._ids = count(1)

    @asynccontextmanager
    async def signed(self, request: GenRequest, caller: Caller, model: str) -> AsyncIterator[Answer]:
        """An answer under way, as long as this block. Raises ShuttingDown, and what the watcher refuses it for."""
        if self.closed:
            raise ShuttingDown("the server ends: ask again when it is back.")
        answer = Answer(next(self._ids), request, caller, model, self.watcher.speaks)
        self.open[answer.id] = answer  # before its limits are looked at: those who come meanwhile count it
        self._none.clear()
        try:
            await self.watcher.begin(answer)
        except BaseException:
            self._drop(answer)
            raise
        try:
            yield answer
        finally:
            self._drop(answer)
            if isinstance(done := answer.ending, Done):
                log.info("answered", **msgspec.to_builtins(done.usage), **msgspec.to_builtins(done.timing))
            await self.watcher.end(answer)

    def _drop(self, answer: Answer) -> None:
        del self.open[answer.id]
        if not self.open:
            self._none.set()

    def stop(self, id: int) -> bool:
        """End an answer, at the operator's wish; False where it is over already."""
        answer = self.open.get(id)
        if answer is not None:
            answer.stopped = True
        return answer is not None

    async def over(self, seconds: float) -> None:
        """Return when none is open, or after `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._none.wait()
