"""Admission control: in a burst, whoever cannot be answered hears it before anything is spent on the request.

    1,000 at once ─► gate: places left? ──yes──► turnstile: one per turn of the loop ─► app
                        └──no──► 429 with Retry-After, written below ASGI (doorstep.py, connection.py)

A place is taken by a whole request for an answer, from its last byte to the answer's. There are as many as answers can
run and wait: beyond them the engine's own queue would say the same, but only after all the work of reading the request.
The turnstile lets the probes and the answers that stream breathe while many requests are taken in.
"""

import asyncio
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from edgechat.api.errors import Problem
from edgechat.errors import QueueFull

SEATS = 16  # answers of one model that run at once, as scheduler/loop.py has it
COME_BACK_S = 2.0
FULL = Problem.of(QueueFull("all places in the queue are taken; come back in a moment."))._replace(
    retry_after_s=COME_BACK_S
)


def places(queue: int, models: int) -> int:
    """How many answers can run and wait: each model in memory has a queue of its own."""
    return (queue + SEATS) * max(1, models)


class Gate:
    """Counts the places of answers; one for all connections."""

    def __init__(self, places: Callable[[], int], refused: Callable[[], object]) -> None:
        """`places` tells how many there are now; `refused` is called for everyone who finds none."""
        self._places = places
        self._refused = refused
        self._taken = 0

    @property
    def full(self) -> bool:
        """Whether a newcomer finds no place."""
        return self._taken >= self._places()

    def turn_away(self) -> None:
        """A newcomer is told to come back."""
        self._refused()

    def enter(self) -> None:
        """A request is whole."""
        self._taken += 1

    def leave(self) -> None:
        """It is answered, or its client left."""
        self._taken -= 1


class Turnstile:
    """ASGI middleware: of the requests that change or ask something, one begins in a turn of the loop."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._lock = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            async with self._lock:
                await asyncio.sleep(0)
        await self._app(scope, receive, send)
