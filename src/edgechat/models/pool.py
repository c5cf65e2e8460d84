"""Eviction: which models are in memory, under one memory number and one budget of cores. Pure: time is handed in.

absent ─► loading ─► ready ⇄ busy ─► leaving ─► absent
                      └ idle ┘
          whoever has been idle longest goes first, a busy one only after its answers
"""

from dataclasses import dataclass
from math import inf
from typing import Generic, TypeVar


@dataclass(eq=False)
class Tenant:
    """A model in memory, or on its way in or out. Times are in seconds of one monotonic clock."""

    name: str
    bytes: int = 0  # as planned, or as measured where that is more
    keep: float = inf  # seconds that it stays without being asked
    used: float = 0.0  # when it was asked last, or ended its last answer
    busy: int = 0  # answers that are open or wait for it
    leaving: bool = False  # nobody new gets in; it goes when its last answer ends


T = TypeVar("T", bound=Tenant)


class Pool(Generic[T]):
    """The books: nothing is loaded or unloaded here."""

    def __init__(self, memory: int, cores: int) -> None:
        """`memory` bytes and `cores` for all models together."""
        self.memory = memory
        self.cores = cores
        self.tenants: list[T] = []

    @property
    def room(self) -> int:
        """Bytes that nobody has; never negative."""
        return max(0, self.memory - sum(tenant.bytes for tenant in self.tenants))

    def enter(self, tenant: T) -> None:
        """Enter `tenant` into the books, before it is loaded."""
        self.tenants.append(tenant)

    def leave(self, tenant: T) -> None:
        """Its memory is free. One that never got in may leave too."""
        if tenant in self.tenants:
            self.tenants.remove(tenant)

    def victim(self, spared: T | None = None) -> T | None:
        """Who makes room next: the least recently used, one without answers before one with; None if nobody can."""
        able = [tenant for tenant in self.tenants if tenant is not spared]
        return min(able, key=lambda one: (not one.leaving, one.busy > 0, one.used), default=None)

    def expired(self, now: float) -> list[T]:
        """Those that nobody asked for as long as they may stay."""
        return [one for one in self.tenants if not one.busy and not one.leaving and now >= one.used + one.keep]

    def shares(self) -> list[tuple[T, int]]:
        """The most threads each may use: all cores alone, its part of them beside others that are busy too.

        An idle one is told all cores: what it begins with before the next division is nobody's loss.
        """
        busy = [tenant for tenant in self.tenants if tenant.busy]
        part, rest = divmod(self.cores, max(1, len(busy)))
        shares = {id(tenant): max(1, part + (place < rest)) for place, tenant in enumerate(busy)}
        return [(tenant, shares.get(id(tenant), self.cores)) for tenant in self.tenants]
