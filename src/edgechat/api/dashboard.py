"""What the operator watches at /dashboard: figures once a second, the answers under way, the last errors.

Board.run ─► a sample a second, 15 minutes of them ─► GET /api/dash/events: all of them, then each new one
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator
from statistics import median
from typing import Any

import msgspec
import psutil
from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from edgechat import __version__
from edgechat.api import sse
from edgechat.api.live import Live
from edgechat.api.metrics import temperature
from edgechat.api.requests import StrictRoute
from edgechat.errors import NotFound
from edgechat.runtime import Runtime
from edgechat.types import Struct

KEPT = 900  # samples
EVERY_S = 1.0
LOOK_ROUND = 10  # samples from one look for worker processes to the next: it reads the whole process table

router = APIRouter(prefix="/api/dash", route_class=StrictRoute)


class Sample(Struct, frozen=True):
    """One second. Tokens per second, answers, bytes, percent of all cores, degrees Celsius; `at` in seconds since 1970.

    `first` is the median time to a first token among the answers that began to speak in this second.
    """

    at: float
    decode: float
    prefill: float
    running: int
    waiting: int
    refused: int
    first: float | None
    rss: int
    free: int
    swap: int
    cpu: float
    celsius: float | None


class Board:
    """The samples of one server."""

    def __init__(self, runtime: Runtime, live: Live) -> None:
        self.samples: deque[Sample] = deque(maxlen=KEPT)
        self.live = live
        self._runtime = runtime
        self._before = (0, 0, 0)  # tokens written and read, refusals
        self._processes: list[psutil.Process] = []
        self._turn = 0
        self._started = time.time()
        self._news = asyncio.Condition()

    async def run(self) -> None:
        """Take a sample every second, until cancelled."""
        psutil.cpu_percent()  # the first call has nothing to compare with
        while True:
            self.samples.append(self._sample())
            async with self._news:
                self._news.notify_all()
            await asyncio.sleep(EVERY_S)

    def last(self) -> Sample:
        """The newest sample: there is one from the start."""
        return self.samples[-1]

    def _sample(self) -> Sample:
        live = self.live
        now = (live.written, live.read, live.refusals)
        written, read, refused = (new - old for new, old in zip(now, self._before, strict=True))
        self._before = now
        firsts, live.firsts = live.firsts, []
        phases = [line.phase for line in live.lines.values()]
        return Sample(
            at=round(time.time(), 1),
            decode=round(max(0, written) / EVERY_S, 1),
            prefill=round(max(0, read) / EVERY_S, 1),
            running=sum(phase != "waiting" for phase in phases),
            waiting=sum(phase == "waiting" for phase in phases),
            refused=refused,
            first=round(median(firsts), 3) if firsts else None,
            rss=self._rss(),
            free=psutil.virtual_memory().available,
            swap=psutil.swap_memory().used,
            cpu=psutil.cpu_percent(),
            celsius=temperature(),
        )

    def _rss(self) -> int:
        """Bytes that the server and its workers hold."""
        if self._turn % LOOK_ROUND == 0:
            own = psutil.Process()
            self._processes = [own, *own.children(recursive=True)]
        self._turn += 1
        held = 0
        for process in self._processes:
            try:
                held += process.memory_info().rss
            except psutil.Error:  # it ended since
                self._turn = 0
        return held

    def now(self) -> dict[str, Any]:
        """Everything that is not a figure of this second."""
        readiness = self._runtime.readiness
        return {
            "version": __version__,
            "state": readiness.state,
            "model": readiness.model,
            "progress": readiness.progress,
            "uptime_s": round(time.time() - self._started),
            "requests": [line.told() for line in self.live.lines.values()],
            "errors": [msgspec.to_builtins(error) for error in reversed(self.live.errors)],
        }

    async def events(self) -> AsyncGenerator[bytes, None]:
        """`samples` once, then `sample` and `now` every second; ends with the server."""
        yield sse.event("samples", list(self.samples))
        yield sse.event("now", self.now())
        while not self._runtime.draining:
            async with self._news:
                await self._news.wait()
            yield sse.event("sample", self.samples[-1])
            yield sse.event("now", self.now())


@router.get("/events", summary="Figures of the server, once a second", response_class=StreamingResponse)
async def events(request: Request) -> Response:
    board: Board = request.app.state.board
    return StreamingResponse(board.events(), media_type=sse.MEDIA_TYPE, headers=sse.HEADERS)


@router.delete("/requests/{id}", summary="End an answer that is under way", status_code=204)
async def end(id: int, request: Request) -> Response:
    board: Board = request.app.state.board
    if not board.live.end(id):
        raise NotFound("this answer is over already.")
    return Response(status_code=204)
