"""Model selection: what a newcomer would rather take on this machine than the default, with what to expect of it.

    memory   the file once, and what serving takes beside it, or all there is         at least for one person at a time
    speed    bandwidth x the share of it that writing takes / bytes of the file       at least as fast as one reads

Both are about right before a byte is fetched; what was tuned here tells how near to the memory's speed writing comes.
"""

import time
from math import inf

from edgechat import machine
from edgechat.engine.fit import DEFAULT_SHARE, free_memory
from edgechat.hub.catalog import Catalog
from edgechat.hub.store import Store
from edgechat.settings import Settings
from edgechat.tune import bandwidth
from edgechat.tune.record import Records
from edgechat.types import Struct

SHARE = 0.5  # of the memory's speed that writing takes, where nothing was tuned here
PACE = 10.0  # tokens per second
AGAIN = 60.0  # seconds from one measurement of the memory to the next, while a server runs


class Advice(Struct, frozen=True):
    """A model of the catalogue. `memory` in bytes, `speed` in tokens per second, as they are to be expected."""

    name: str
    memory: int
    speed: float


def advised(catalog: Catalog, memory: int, bandwidth: float, share: float = SHARE) -> Advice | None:
    """The best of the newcomers that fits into `memory` bytes and writes fast enough; None where none does. Pure.

    `bandwidth` is the memory's, in bytes per second; `share` what writing takes of it.
    """
    for entry in map(catalog.get, catalog.newcomers):
        if entry.size is None or entry.memory is None or entry.most_memory is None:
            continue
        found = Advice(entry.name, min(entry.most_memory, memory), bandwidth * share / entry.size)
        if found.memory >= entry.memory and found.speed >= PACE:
            return found
    return None


def advice(settings: Settings, store: Store, catalog: Catalog) -> Advice | None:
    """The same for this machine. Measures its memory, for a tenth of a second, where no tuning has."""
    memory = int(settings.memory) or int(free_memory() * DEFAULT_SHARE)
    records = Records(settings.home)
    tuned = [found for stored in store.list() if (found := records.find(stored.sha256)) and found.roof]
    if tuned:
        return advised(catalog, memory, tuned[0].bandwidth, tuned[0].roof or SHARE)
    return advised(catalog, memory, _roof.now())


class _Roof:
    """The memory's speed as it was measured at best: programs that run beside only slow it down."""

    def __init__(self) -> None:
        self._best, self._next = 0.0, -inf

    def now(self) -> float:
        """Bytes per second; measured again where that was a while ago."""
        if time.monotonic() >= self._next:
            self._best = max(self._best, bandwidth.measured(machine.cores()))
            self._next = time.monotonic() + AGAIN
        return self._best


_roof = _Roof()
