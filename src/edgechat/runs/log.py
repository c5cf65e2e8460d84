"""An event log: what happened in a run, numbered from 1, for any number of followers at any pace.

Readers hold a number, the log holds everything: who comes late or reads slowly gets the same text in larger pieces,
and nothing is buffered for anybody.
"""

import asyncio
from collections.abc import AsyncGenerator
from itertools import groupby
from typing import Any, Literal

import msgspec

from edgechat.types import FinishReason, Struct

COALESCE_S = 0.02  # a reader gets at most fifty events a second


class Event(Struct, frozen=True, tag=str.lower, tag_field="event"):
    """Something that a reader of a run is told."""


class Queued(Event, frozen=True):
    """Waits, at `position`; 0 starts now."""

    position: int
    eta_s: float | None = None


class Loading(Event, frozen=True):
    """The model is not ready yet. `pct` from 0 to 100, where it is known."""

    stage: str
    pct: float | None = None


class Media(Event, frozen=True):
    """Pictures are looked at, now the one called `sha256`: `done` of `total`, in hundredths of one."""

    sha256: str
    stage: str
    done: int
    total: int
    eta_s: float | None = None


class Prefill(Event, frozen=True):
    """`done` of `total` tokens of the conversation are read."""

    done: int
    total: int
    eta_s: float | None = None


class Reasoning(Event, frozen=True):
    """More of what the model thinks before it answers."""

    t: str


class Delta(Event, frozen=True):
    """More of the answer."""

    t: str


class Snapshot(Event, frozen=True):
    """All of the answer as it is stored: it replaces what the reader has."""

    content: str
    reasoning: str


class Unsaved(Event, frozen=True):
    """The answer goes on, but the disk does not take it."""

    code: str
    message: str


class Usage(Event, frozen=True):
    """Tokens and speed, as measured. `ctx_used` of `ctx_max` tokens of context are taken; the `dropped` oldest messages
    of the conversation did not fit, and were not read (None: of an answer that was stopped nobody knows)."""

    prompt: int
    cached: int
    completion: int
    ttft_ms: float | None
    tps: float | None
    ctx_used: int
    ctx_max: int
    dropped: int | None = 0


class Done(Event, frozen=True):
    """The end. `saved` False: the disk did not take the whole answer; it is tried again."""

    finish_reason: FinishReason | Literal["stopped", "loop"]
    saved: bool = True


class Error(Event, frozen=True):
    """The end, before the answer was whole. `code` is one of errors.py."""

    code: str
    message: str
    retryable: bool
    retry_after_s: float | None = None
    saved: bool = True


class Log:
    """The events of one run. All methods belong to one event loop."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._changed = asyncio.Event()
        self.ended = asyncio.Event()

    def append(self, event: Event) -> None:
        """Tell every reader. `Done` and `Error` are the end."""
        self._events.append(event)
        if isinstance(event, Done | Error):
            self.ended.set()
        self._changed.set()
        self._changed = asyncio.Event()

    def text(self, kind: type[Delta] | type[Reasoning] = Delta) -> str:
        """The whole text so far; that of a continued answer begins with a snapshot."""
        said = []
        for event in self._events:
            if type(event) is kind:
                said.append(event.t)
            elif isinstance(event, Snapshot):
                said.append(event.content if kind is Delta else event.reasoning)
        return "".join(said)

    def since(self, number: int) -> list[tuple[int, Event]]:
        """What came after event `number`: neighbours of one kind as one event, under the last one's number."""
        numbered = enumerate(self._events[number:], number + 1)
        groups = (list(group) for _, group in groupby(numbered, key=lambda pair: type(pair[1])))
        return [(group[-1][0], _merged([event for _, event in group])) for group in groups]

    async def follow(self, number: int = 0) -> AsyncGenerator[tuple[int, Event], None]:
        """What came after event `number`, and then what comes, to the end."""
        while True:
            changed, over = self._changed, self.ended.is_set()
            for at, event in self.since(number):
                yield at, event
                number = at
            if over:
                return
            await changed.wait()
            await asyncio.sleep(COALESCE_S)


def _merged(events: list[Event]) -> Event:
    """Neighbours of one kind: texts join, of anything else the last one counts."""
    last = events[-1]
    if isinstance(last, Delta | Reasoning):
        return type(last)("".join(event.t for event in events if isinstance(event, Delta | Reasoning)))
    return last


def name(event: Event) -> str:
    """What the event is called on the wire."""
    return str(event.__struct_config__.tag)


def payload(event: Event) -> dict[str, Any]:
    """The event's fields, without its name."""
    return msgspec.structs.asdict(event)
