"""Time series of a running server, for the operator: a sample a second, and everything that is no figure of a second.

live.py (answers) ─┐
metrics.py (HTTP) ─┼─► Board.run ─► a Sample a second, 15 minutes of them
models/keeper.py ──┘
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from math import ceil
from typing import Any

import msgspec
import psutil

from edgechat import __version__, machine
from edgechat.api import sse
from edgechat.api.watch.desk import Desk
from edgechat.api.watch.metrics import temperature
from edgechat.api.watch.models import Row, here
from edgechat.i18n import t
from edgechat.observe.logs import Sink
from edgechat.runtime import Runtime
from edgechat.types import Caller, Struct

KEPT = 900  # samples
EVERY_S = 1.0
RECENT_S = 60.0  # seconds over which waiting times are ranked
LOOK_ROUND = 10  # samples from one look for worker processes to the next: it reads the whole process table


class Sample(Struct, frozen=True):
    """One second. Tokens per second, answers, bytes, percent of all cores, degrees Celsius; `at` in seconds since 1970.

    `first`, `slow` and `queued` rank the answers of the last minute: seconds to the first token, of the median one and
    of the 95th of a hundred, and seconds in the queue, of the median one of those that are whole. `cells` is the share,
    in percent, of what the engines can hold that the answers under way take.
    """

    at: float
    decode: float
    prefill: float
    running: int
    waiting: int
    refused: int
    first: float | None
    slow: float | None
    queued: float | None
    rss: int
    free: int
    swap: int
    cpu: float
    celsius: float | None
    cells: float
    failed: int  # answers that ended with an error
    http4: int  # HTTP answers by their first digit
    http5: int


class Recent:
    """Waiting times of the last minute."""

    def __init__(self) -> None:
        self._kept: deque[tuple[float, float]] = deque()

    def take(self, seconds: Sequence[float], now: float) -> list[float]:
        """Take in what is new; all that is recent, in order of length."""
        self._kept.extend((now, one) for one in seconds)
        while self._kept and now - self._kept[0][0] > RECENT_S:
            self._kept.popleft()
        return sorted(one for _, one in self._kept)


def ranked(ordered: Sequence[float], share: float) -> float | None:
    """The smallest of `ordered` that at least `share` of them do not exceed."""
    return round(ordered[ceil(share * len(ordered)) - 1], 3) if ordered else None


class Totals(Struct, frozen=True):
    """Counts since the start; a sample is the difference of two."""

    written: int
    read: int
    refused: int
    failed: int
    http4: int
    http5: int


class Board:
    """The samples of one server."""

    def __init__(self, runtime: Runtime, desk: Desk) -> None:
        self.samples: deque[Sample] = deque(maxlen=KEPT)
        self.live = desk.live
        self._desk = desk
        self._runtime = runtime
        self._before = Totals(0, 0, 0, 0, 0, 0)
        self._firsts, self._waits = Recent(), Recent()
        self._processes: list[psutil.Process] = []
        self._turn = 0
        self._started = time.time()
        self._news = asyncio.Condition()
        desk.metrics.kept.set_function(self._share)

    async def run(self) -> None:
        """Take a sample every second, until cancelled."""
        psutil.cpu_percent()  # the first call has nothing to compare with
        free = machine.memory_free()
        while True:
            self.samples.append(self._sample(free))
            async with self._news:
                self._news.notify_all()
            await asyncio.sleep(EVERY_S)
            free = await asyncio.to_thread(machine.memory_free)  # files of every control group

    def last(self) -> Sample:
        """The newest sample: there is one from the start."""
        return self.samples[-1]

    def _totals(self) -> Totals:
        live, answered = self.live, self._desk.metrics.answered
        failed = sum(live.codes.values()) - live.refusals
        return Totals(live.written, live.prefilled, live.refusals, failed, answered["4"], answered["5"])

    def _sample(self, free: int) -> Sample:
        live, monotonic = self.live, time.monotonic()
        now, before = self._totals(), self._before
        self._before = now
        (firsts, live.firsts), (waits, live.waits) = (live.firsts, []), (live.waits, [])
        spoke, stood = self._firsts.take(firsts, monotonic), self._waits.take(waits, monotonic)
        phases = [answer.phase for answer in live.answers.open.values()]
        return Sample(
            at=round(time.time(), 1),
            decode=round(max(0, now.written - before.written) / EVERY_S, 1),
            prefill=round(max(0, now.read - before.read) / EVERY_S, 1),
            running=sum(phase != "waiting" for phase in phases),
            waiting=sum(phase == "waiting" for phase in phases),
            refused=now.refused - before.refused,
            first=ranked(spoke, 0.5),
            slow=ranked(spoke, 0.95),
            queued=ranked(stood, 0.5),
            rss=self._rss(),
            free=free,
            swap=psutil.swap_memory().used,
            cpu=psutil.cpu_percent(),
            celsius=temperature(),
            cells=round(100 * self._share(), 1),
            failed=now.failed - before.failed,
            http4=now.http4 - before.http4,
            http5=now.http5 - before.http5,
        )

    def _share(self) -> float:
        """How much of what all loaded models can hold the answers under way take; 0 to 1."""
        return self.live.share(sum(one.info.cells for one in self._runtime.keeper.pool.tenants if one.info))

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
        """What changes from second to second and is no figure."""
        pool = self._runtime.keeper.pool
        return {
            "version": __version__,
            **self._runtime.readiness.told(),
            "paused": self._runtime.paused,  # which the state tells only once the model answers
            "uptime_s": round(time.time() - self._started),
            "memory": {"limit": pool.memory, "planned": pool.memory - pool.room},
            "requests": self.live.told(),
            "errors": [
                msgspec.to_builtins(error) | {"message": t(error.message)} for error in reversed(self.live.errors)
            ],
            "codes": dict(self.live.codes),
            "log_lines_dropped": Sink.dropped,
        }

    async def status(self, caller: Caller) -> dict[str, Any]:
        """All of it, for whoever looks once."""
        return {
            **self.now(),
            "pid": os.getpid(),
            "sample": msgspec.to_builtins(self.last()),
            "models": [self._model(here(self._runtime, served)) for served in self._runtime.models(caller)],
            "clients": await self._desk.clients(),
        }

    def _model(self, row: Row) -> dict[str, Any]:
        """A model on disk, and what it holds where it is in memory. `idle_s` is since its last answer."""
        about: dict[str, Any] = msgspec.to_builtins(row)
        resident = self._runtime.keeper.resident(row.name)
        if resident is None or resident.info is None:
            return about
        held = self.live.held(row.name)
        idle = None if resident.busy else round(asyncio.get_running_loop().time() - resident.used)
        info = resident.info
        more = {"cells": info.cells, "held": held, "busy": resident.busy, "idle_s": idle, "threads": info.threads}
        return about | more | {"context": info.context, "engine": info.engine}

    async def events(self) -> AsyncGenerator[bytes, None]:
        """`samples` once, then `sample` and `now` every second; ends with the server."""
        yield sse.event("samples", list(self.samples))
        yield sse.event("now", self.now())
        while not self._runtime.draining:
            async with self._news:
                await self._news.wait()
            yield sse.event("sample", self.samples[-1])
            yield sse.event("now", self.now())
