"""How far a tuning is, and how long it still takes. The clock is handed in."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgechat.types import Struct

# What each kind of work takes, relative to the others.
WEIGHTS = {
    "costs": 8,
    "read": 15,
    "make": 6,
    "judge": 7,
    "judge more": 9,
    "attend": 8,
    "race": 16,
    "settle": 10,
    "publish": 3,
}
KNOWN = 10.0  # of weight that must be done before the time left is told


class Step(Struct, frozen=True):
    """What is being done, how much is done from 0 to 1, and the seconds left where they can be told."""

    doing: str
    fraction: float
    left_s: float | None = None


class Progress:
    """Adds up what is done. Work that an earlier try did counts as done, but not as time."""

    def __init__(self, tell: Callable[[Step], None], clock: Callable[[], float]) -> None:
        self._tell, self._clock = tell, clock
        self._total = float(sum(WEIGHTS.values()))
        self._done = 0.0
        self._shown = 0.0
        self._worked = self._seconds = 0.0  # weight done in this process, and the time it took

    def expect(self, **counts: int) -> None:
        """So much of each kind of work is left; blanks in a kind's name are underscores here."""
        self._total = self._done + sum(WEIGHTS[kind.replace("_", " ")] * count for kind, count in counts.items())

    @contextmanager
    def doing(self, what: str, kind: str) -> Iterator[Callable[[float], None]]:
        """A piece of work; what it yields takes the piece's own fraction. Nothing told: it was done already."""
        weight, began, asked = WEIGHTS[kind], self._clock(), False

        def told(fraction: float) -> None:
            nonlocal asked
            asked = True
            self._tell(self._step(what, weight * fraction, self._clock() - began))

        self._tell(self._step(what, 0.0, 0.0))
        yield told
        self._done += weight
        if asked:
            self._worked += weight
            self._seconds += self._clock() - began

    def _step(self, what: str, more: float, seconds: float) -> Step:
        done, worked = self._done + more, self._worked + more
        left = None
        if worked >= KNOWN:
            left = (self._seconds + seconds) / worked * max(0.0, self._total - done)
        self._shown = max(self._shown, min(1.0, done / self._total))  # more work may turn up, but nobody goes back
        return Step(what, self._shown, left)
