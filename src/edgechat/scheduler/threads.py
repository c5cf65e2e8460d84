"""How many threads the engine uses for a step, following measured step times. Pure.

The right count changes from minute to minute: with a busy neighbour on one of two cores, two threads wait for each
other at every layer and are slower than one. So the neighbouring counts are tried for a few steps now and then, and at
once when steps have become slow; the fastest count stays. Only steps of the same kind are compared.
"""

FIRST = 6  # steps before the first look at another count: a neighbour may have been here before us
EVERY = 256  # most steps between two looks; each look that changes nothing doubles the distance
TRIAL = 3  # steps per look
SLOWER = 1.35  # times the usual, for this many steps in a row, is a reason to look at once
SUSPICIOUS = 4
BETTER = 0.95  # a count replaces another when its steps take less than this share


class Threads:
    """The thread count of one kind of step (decode, say, or prefill)."""

    def __init__(self, most: int) -> None:
        """Between 1 and `most` threads; begins with `most`."""
        self.count = most
        self._most = most
        self._chosen = most
        self._usual: dict[object, float] = {}  # seconds of a step at the chosen count, by kind of step
        self._slow = 0
        self._since = 0
        self._distance = FIRST
        self._trials: list[int] = []
        self._trial: list[float] = []  # share of the usual time that each step of the trial took

    def measured(self, kind: object, seconds: float) -> None:
        """A step took `seconds` with `count` threads (a step, or a token of it: steps of one `kind` are compared)."""
        if self._most == 1:
            return
        if self.count != self._chosen:
            self._judge(kind, seconds)
            return
        usual = self._usual.get(kind)
        self._since += 1
        self._slow = self._slow + 1 if usual is not None and seconds > SLOWER * usual else 0
        if usual is None or self._slow < SUSPICIOUS:
            self._usual[kind] = seconds if usual is None else usual + 0.1 * (seconds - usual)
        if self._slow >= SUSPICIOUS or self._since >= self._distance:
            if self._slow:
                self._usual = {kind: seconds}
                self._distance = FIRST
            self._look()

    def _look(self) -> None:
        """Begin to try the neighbouring counts."""
        self._slow = self._since = 0
        self._trials = [count for count in (self._chosen - 1, self._chosen + 1) if 1 <= count <= self._most]
        self.count, self._trial = self._trials.pop(0), []

    def _judge(self, kind: object, seconds: float) -> None:
        """Take in a step of the trial; choose when there are enough."""
        usual = self._usual.get(kind)
        self._trial.append(
            seconds / usual if usual is not None else 1.0
        )  # nothing to compare with speaks for no change
        if len(self._trial) < TRIAL:
            return
        share = sorted(self._trial)[len(self._trial) // 2]
        if share < BETTER:
            self._chosen, self._usual, self._trials = self.count, {kind: seconds}, []
            self._distance = FIRST
        if self._trials:
            self.count, self._trial = self._trials.pop(0), []
        else:
            self.count = self._chosen
            self._distance = min(2 * self._distance, EVERY)
