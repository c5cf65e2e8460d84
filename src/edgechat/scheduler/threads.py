"""How many threads the engine uses, following measured steps. Pure.

The right count changes from minute to minute: with a busy neighbour on one of two cores, two threads wait for each
other at every layer and are slower than one. Two signs tell of a neighbour: steps take longer than they used to, and
the threads get less processor time than the step lasted. Then the neighbouring counts are tried for a few steps, and
the fastest stays. Without a sign that happens very rarely: a try costs about a step.

Prompts are another matter: their steps are long, compute-bound, and all different. There the processor time alone
decides: as many threads as got a whole core, and all of them again a few steps later.
"""

EVERY = 512  # steps between two looks at another count without a sign
FIRST = 4  # steps with a sign before a look; every look that changes nothing doubles the distance
TRIAL = 3  # steps per look, unless the first one is clearly slower
HOPELESS = 1.15  # times the usual
SLOWER = 1.35  # times the usual is a sign
STARVED = 0.85  # of the processor time that the threads could have had is a sign
AGAIN = 8  # steps with a prompt, after which all threads are tried again
BETTER = 0.95  # a count replaces another when its steps take less than this share


class Threads:
    """The thread counts: `count` for steps of one token per reader, `prefill` for steps with a prompt."""

    def __init__(self, most: int, decode: int = 0, prefill: int = 0) -> None:
        """Between 1 and `most` threads.

        Begins with the counts that were measured as fastest for steps of one token per reader (`decode`) and for
        prompts (`prefill`); 0 is all. Decoding waits for memory, so it may be fastest with fewer.
        """
        self._all = most
        self._measured = (decode or most, prefill or most)
        self._begin(most)

    def limit(self, most: int) -> None:
        """Take at most `most` threads from now on, and no more than it was made with: other models need the rest."""
        most = max(1, min(most, self._all))
        if most != self._most:
            self._begin(most)

    def _begin(self, most: int) -> None:
        """Start within `most`; what was learned with another number says nothing now."""
        self._most = most
        self._start, self._reading = (min(count, most) for count in self._measured)
        self.count = self.chosen = self._start
        self.prefill = self._reading
        self._read = 0  # steps with a prompt since `prefill` was set
        self._usual: dict[int, float] = {}  # seconds of a step with the chosen count, by readers
        self._signs = 0
        self._since = 0
        self._distance = FIRST
        self._trials: list[int] = []
        self._trial: list[float] = []  # share of the usual time that each step of the trial took

    def read(self, share: float) -> None:
        """A step with a prompt got `share` (0 to 1) of the processor time that `prefill` threads could have had."""
        self._read += 1
        if share < STARVED and self.prefill > 1:
            self.prefill = max(1, min(self.prefill - 1, round(share * self.prefill)))
            self._read = 0
        elif self._read >= AGAIN:
            self.prefill = self._reading
            self._read = 0

    def measured(self, readers: int, seconds: float, share: float) -> None:
        """A step of one token for each of `readers` took `seconds` with `count` threads.

        `share` is the processor time they got of what they could have had, from 0 to 1.
        """
        if self._most == 1:
            return
        if self.count != self.chosen:
            self._judge(readers, seconds)
            return
        usual = self._usual.get(readers)
        sign = share < STARVED or (usual is not None and seconds > SLOWER * usual)
        self._since += 1
        self._signs = self._signs + 1 if sign else 0
        if usual is None or not sign:
            self._usual[readers] = seconds if usual is None else usual + 0.1 * (seconds - usual)
        fewer = self.chosen < self._start  # the neighbour may have left
        if self._since >= (self._distance if fewer or self._signs >= FIRST else EVERY):
            if self._signs:
                self._usual = {readers: seconds}
            self._look()

    def _look(self) -> None:
        """Begin to try the neighbouring counts."""
        self._signs = self._since = 0
        self._trials = [count for count in (self.chosen - 1, self.chosen + 1) if 1 <= count <= self._most]
        self.count, self._trial = self._trials.pop(0), []

    def _judge(self, readers: int, seconds: float) -> None:
        """Take in a step of the trial; choose when there are enough."""
        usual = self._usual.get(readers, seconds)  # nothing to compare with speaks for no change
        self._trial.append(seconds / usual)
        if len(self._trial) < TRIAL and self._trial[0] < HOPELESS:
            return
        if sorted(self._trial)[len(self._trial) // 2] < BETTER:
            self.chosen, self._usual, self._trials = self.count, {readers: seconds}, []
            self._distance = 4 * FIRST
        elif self._trials:
            self.count, self._trial = self._trials.pop(0), []
        else:
            self.count = self.chosen
            self._distance = min(2 * self._distance, EVERY)
