"""One model in its worker, and what it takes to load it."""

import asyncio
from collections.abc import Callable
from math import inf
from typing import NamedTuple, Protocol

from edgechat.engine.base import Forecast
from edgechat.errors import EdgechatError
from edgechat.letters import Load
from edgechat.models.pool import Tenant
from edgechat.models.supervisor import Worker
from edgechat.types import Loading, ModelInfo


class Held(Protocol):
    """Bytes that stay on disk until they are released."""

    def release(self) -> None:
        """Let go. A second time does nothing."""
        ...


class Wanted(NamedTuple):
    """A model as it would be loaded. `load.memory` and `load.threads` are filled in here; `keep` is in seconds.

    `take` is called in a thread before every load: it checks the bytes and holds them, or raises ModelDamaged. So is
    `check` before a process that died is started again.
    """

    name: str
    load: Load
    forecast: Forecast
    take: Callable[[], Held]
    keep: float = inf
    check: Callable[[], None] = lambda: None

    def planned(self, memory: int) -> ModelInfo:
        """What loading it within `memory` bytes would give. Raises ConfigError."""
        return self.forecast.plan(self.load.context, memory, self.load.flash)


class Resident(Tenant):
    """One model in its worker, from the moment it is asked for until its process is gone."""

    def __init__(self, wanted: Wanted, now: float) -> None:
        super().__init__(wanted.name, keep=wanted.keep, used=now)
        self.wanted = wanted
        self.waiting = 0  # requests that are not in the worker yet
        self.trial = False  # nobody gets in before it has answered a probe
        self.successor: Resident | None = None  # who has its name once it is gone
        self.worker: Worker | None = None
        self.measured = False  # it takes no more memory than it may
        self.held: Held | None = None
        self.failure: EdgechatError | None = None
        self.failed_at = 0.0
        self.changed = asyncio.Event()  # set, and replaced, whenever something is new
        self.arriving: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether its worker takes a request now."""
        return self.worker is not None and self.worker.ready and self.measured

    @property
    def info(self) -> ModelInfo | None:
        """What it turned out to be, once it was loaded."""
        return self.worker.info if self.worker else None

    @property
    def loading(self) -> Loading:
        """How far it is."""
        if self.worker is None:
            return Loading(stage="check" if self.bytes else "room")
        return self.worker.loading or Loading(stage="start")
