"""Rate limits and quotas: every answer is signed in and out, with limits before, counts during, the bill after.

    begin ─► within the client's limits? ─► speaks: how long it waited ─► end: charge its tokens
       └─ LimitReached (429, with the seconds until there is room), ShuttingDown (503)

Limits belong to a client: its key, or its address where no keys are asked for. Tokens are charged when they are known,
so the answer that crosses a limit is finished, and the next one waits.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from limits import RateLimitItem, RateLimitItemPerDay, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import ConfigurationError, StorageError

from edgechat.api.watch.clients import Clients
from edgechat.api.watch.live import Live
from edgechat.api.watch.metrics import Metrics
from edgechat.errors import ConfigError, EdgechatError, InvalidRequest, LimitReached, QueueFull
from edgechat.keys import Keys
from edgechat.models.answers import Answer, Answers, Watcher
from edgechat.settings import Settings
from edgechat.types import Caller, GenRequest, Limits

if TYPE_CHECKING:  # an extra
    from edgechat.observe.tracing import Trace, Tracing

JUMP_S = 60.0  # by which the wall clock may drift from the steady one before it counts as set anew
COME_BACK_S = 2.0  # where nothing is known about when there will be room

log = structlog.get_logger("limits")


class Desk(Watcher):
    """Limits, counts and bills of a server."""

    def __init__(
        self, settings: Settings, keys: Keys, answers: Answers, metrics: Metrics, tracing: "Tracing | None" = None
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._tracing = tracing
        self.metrics = metrics
        self.live = Live(answers)
        self._traces: dict[int, Trace] = {}  # by the answer's id
        self._clients = Clients()
        self._windows = FixedWindowRateLimiter(_storage(settings.limits_storage))
        self._offset = time.time() - time.monotonic()

    async def begin(self, answer: Answer) -> None:
        """Raises LimitReached, InvalidRequest."""
        try:
            await self._begin(answer)
        except EdgechatError as error:
            self.metrics.refused.labels(error.code).inc()
            self.live.refused(error, answer.model)
            raise

    async def _begin(self, answer: Answer) -> None:
        caller, limits = answer.caller, self._limits(answer.caller)
        answer.request = _capped(answer.request, limits.max_tokens)
        if limits.streams and self._open(caller.client) > limits.streams:
            raise _reached(f"{limits.streams} answers at a time", COME_BACK_S)
        with self._storage_may_fail():
            await self._check_windows(caller.client, limits)
        self._clients.asked(caller.client, caller.name or caller.client)
        if self._tracing:
            self._traces[answer.id] = self._tracing.follow(answer.request, answer.model)

    def speaks(self, answer: Answer) -> None:
        """Take its waiting time."""
        assert answer.spoke is not None
        waited = answer.spoke - answer.asked
        self.live.firsts.append(waited)
        self.metrics.first.observe(waited)
        if trace := self._traces.get(answer.id):
            trace.speaks()

    async def end(self, answer: Answer) -> None:
        """Sign it out."""
        self.live.over(answer)
        if trace := self._traces.pop(answer.id, None):
            trace.end(answer.ending)
        if tokens := self.metrics.over(answer.ending):
            await self.charge(answer.caller, tokens)

    def _limits(self, caller: Caller) -> Limits:
        return limits_of(self._settings, caller.limits if caller.realm else None)

    def _open(self, client: str) -> int:
        return sum(answer.caller.client == client for answer in self.live.answers.open.values())

    async def _check_windows(self, client: str, limits: Limits) -> None:
        await self._mind_the_clock()
        for item in _items("tokens", limits.tokens_per_minute, limits.tokens_per_day):
            if not await self._windows.test(item, "tokens", client):
                raise await self._over(item, "tokens", client)
        for item in _items("requests", limits.requests_per_minute, limits.requests_per_day):
            if not await self._windows.hit(item, "requests", client):
                raise await self._over(item, "requests", client)

    async def _over(self, item: RateLimitItem, what: str, client: str) -> LimitReached:
        reset, _ = await self._windows.get_window_stats(item, what, client)
        return _reached(f"{item.amount} {what} a {item.GRANULARITY.name}", max(1.0, reset - time.time()))

    async def charge(self, caller: Caller, tokens: int) -> None:
        """Put an answer's tokens on the client's bill."""
        client, limits = caller.client, self._limits(caller)
        self._clients.charged(client, tokens)
        with self._storage_may_fail():
            for item in _items("tokens", limits.tokens_per_minute, limits.tokens_per_day):
                await self._windows.hit(item, "tokens", client, cost=tokens)

    async def clients(self) -> list[dict[str, Any]]:
        """Who asked since the start, the last first: answers, tokens, answers open now, and what is left of limits."""
        told = []
        for client, about in self._clients.latest():
            left: dict[str, int] = {}
            key = self._keys.by_id(client)
            limits = limits_of(self._settings, key.limits if key else None)
            with self._storage_may_fail():
                for what in ("requests", "tokens"):
                    minute, day = (getattr(limits, f"{what}_per_{span}") for span in ("minute", "day"))
                    for item in _items(what, minute, day):
                        stats = await self._windows.get_window_stats(item, what, client)
                        left[f"{what}_per_{item.GRANULARITY.name}"] = stats.remaining
            told.append(about | {"open": self._open(client), "left": left})
        return told

    @contextmanager
    def _storage_may_fail(self) -> Iterator[None]:
        """A Redis that is away stops nobody: it keeps counts, not doors."""
        try:
            yield
        except StorageError as error:
            log.warning("limits are not counted", why=str(error.storage_error))

    async def _mind_the_clock(self) -> None:
        """The windows go by the wall clock. If that is set back, nobody may be locked out for as long."""
        offset = time.time() - time.monotonic()
        if abs(offset - self._offset) > JUMP_S:
            log.warning(
                "the clock was set; minutes and days of the limits begin anew", by_s=round(offset - self._offset)
            )
            self._offset = offset
            if self._settings.limits_storage == "memory":
                await self._windows.storage.reset()

    async def close(self) -> None:
        """Let go of the storage, and send the traces that wait."""
        storage = self._windows.storage
        if isinstance(storage, RedisStorage):
            await storage.bridge.storage.aclose()  # type: ignore[attr-defined]
        if self._tracing:
            await asyncio.to_thread(self._tracing.close)

    def turned_away(self) -> None:
        """Somebody found no place at the gate (gate.py)."""
        self.metrics.refused.labels(QueueFull.code).inc()
        self.metrics.answer(429)
        self.live.turned_away(QueueFull.code)


def limits_of(settings: Settings, key: Limits | None) -> Limits:
    """What holds for a client: its key's own limits, else the settings'. None: it has no key.

    With keys, one of them may not fill the whole queue, unless it was told that it may.
    """
    own = key or Limits()
    names = Limits.__struct_fields__
    held = {name: getattr(settings, name) if getattr(own, name) is None else getattr(own, name) for name in names}
    if key is not None and own.streams is None and not settings.streams:
        held["streams"] = max(1, settings.queue // 2)
    return Limits(**held)


def _capped(request: GenRequest, most: int | None) -> GenRequest:
    if not most:
        return request
    if request.max_tokens is not None and request.max_tokens > most:
        raise InvalidRequest(f"max_tokens is at most {most} here.", "max_tokens")
    return msgspec.structs.replace(request, max_tokens=request.max_tokens or most)


def _items(what: str, minute: int | None, day: int | None) -> Iterator[RateLimitItem]:
    if minute:
        yield RateLimitItemPerMinute(minute, namespace=f"edgechat/{what}")
    if day:
        yield RateLimitItemPerDay(day, namespace=f"edgechat/{what}")


def _reached(limit: str, wait: float) -> LimitReached:
    error = LimitReached(f"the limit of {limit} is reached; come back in {ceil(wait)} s.")
    error.retry_after_s = wait
    return error


def _storage(address: str) -> Storage:
    """Where the windows are kept: in memory, or in a Redis that several servers share."""
    if address == "memory":
        return MemoryStorage()
    try:
        return RedisStorage(f"async+{address}", implementation="redispy", wrap_exceptions=True)
    except ConfigurationError as error:
        raise ConfigError(
            f"setting limits_storage: {error}; it needs `pip install '.[redis]'` in edgechat's folder."
        ) from None
