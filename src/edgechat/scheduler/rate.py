"""Throughput: how fast answers get done, for the estimates that those who wait are told. Pure."""

FORGET = 0.2  # weight of the newest measurement
LONGEST = 60.0  # seconds between two ends that still count: a quiet hour says nothing about the rate


class Rate:
    """The mean time between two answers' ends."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._between: float | None = None

    def finished(self, now: float) -> None:
        """An answer is done."""
        if self._last is not None:
            between = min(now - self._last, LONGEST)
            self._between = between if self._between is None else self._between + FORGET * (between - self._between)
        self._last = now

    def wait(self, place: int) -> float | None:
        """Seconds until the one at `place` starts; None while nothing is known."""
        return None if self._between is None else round(place * self._between, 1)
