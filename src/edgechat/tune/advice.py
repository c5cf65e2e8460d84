"""Model selection: what a newcomer would rather take on this machine than the default, with what to expect of it.

    memory   the file once, and what serving takes beside it                          within what may be taken here
    speed    bandwidth x the share of it that writing takes / bytes of the file       at least as fast as one reads

Both are about right before a byte is fetched; what was tuned here tells how near to the memory's speed writing comes.
"""

from functools import cache

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
        if entry.size is None or entry.memory is None:
            continue
        found = Advice(entry.name, entry.memory, bandwidth * share / entry.size)
        if found.memory <= memory and found.speed >= PACE:
            return found
    return None


def advice(settings: Settings, store: Store, catalog: Catalog) -> Advice | None:
    """The same for this machine. Measures its memory, once and for a tenth of a second, where no tuning has."""
    memory = int(settings.memory) or int(free_memory() * DEFAULT_SHARE)
    records = Records(settings.home)
    tuned = [found for stored in store.list() if (found := records.find(stored.sha256)) and found.roof]
    if tuned:
        return advised(catalog, memory, tuned[0].bandwidth, tuned[0].roof or SHARE)
    return advised(catalog, memory, _measured(machine.cores()))


@cache
def _measured(threads: int) -> float:
    return bandwidth.measured(threads)
