"""Thread count: how many the engine uses, following measured steps. Pure.

The right count changes from minute to minute: with a busy neighbour on one of two cores, two threads wait for each
other at every layer and are slower than one. Two signs tell of a neighbour: steps take longer than they used to, and
the threads get less processor time than the step lasted. Beside a neighbour steps come fast and slow, as the kernel
shares the core, so signs are counted over a while and counts are compared by their mean. Where the signs are many the
neighbouring counts are tried for a few steps, and the fastest stays. With fewer threads than at the start, cores that
stand idle are a sign that the neighbour has left. Without a sign a look is very rare: it costs about a step.

Prompts are another matter: their steps are long, compute-bound, and all different. There the processor time alone
decides, of a few steps, for one that was disturbed tells nothing of the next: as many threads as got a whole core, and
all of them again when a core stands idle, for beside whoever has it still a step may take seconds. A step with hardly a
token of a prompt (its last one, where the rest was kept) is none: much of it is choosing the next token, which takes
one thread.
"""

EVERY = 512  # steps between two looks at another count without a sign
FIRST = 4  # steps with a sign before a look; every look that changes nothing doubles the distance
CALM = 0.25  # of a sign is forgotten with every step that has none
TRIAL = 4  # steps per look, unless the first ones are clearly slower
HOPELESS = 1.3  # times the mean
SOON = 32  # steps to the next look where cores stand idle
IDLE = 0.7  # of a core without work is an idle one
RECENT = 0.2  # weight of the newest step in the mean
SLOWER = 1.35  # times the usual is a sign
GLARING = 4  # times the usual is as good as FIRST of them: two threads on one core may take seconds for a step
STARVED = 0.85  # of the processor time that the threads could have had is a sign
FEW = 3  # tokens of a prompt: a step with fewer says nothing of how prompts are read
LASTING = 3  # steps with a prompt that were starved, before there are fewer threads; two that were not make up for one
AGAIN = 8  # steps with a prompt, after which all threads are tried again where cores are idle
BETTER = 0.95  # a count replaces another when its steps take less than this share


class Threads:
    """The thread counts: `count` for steps of one token per writer, `prefill` for steps with a prompt."""

    def __init__(self, most: int, decode: int = 0, prefill: int = 0) -> None:
        """Between 1 and `most` threads.

        Begins with the counts that were measured as fastest for steps of one token per writer (`decode`) and for
        prompts (`prefill`); 0 is all. Decoding waits for memory, so it may be fastest with fewer.
        """
        self._all = most
        self._measured = (decode or most, prefill or most)
        self._begin(most)

    @property
    def most(self) -> int:
        """How many there may be now."""
        return self._most

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
        self._starved = 0.0
        self._usual: dict[int, float] = {}  # seconds of an undisturbed step with the chosen count, by writers
        self._mean: dict[int, float] = {}  # the same of the steps just now, disturbed or not
        self._signs = 0.0
        self._left = False  # the neighbour, by the look of idle cores
        self._since = 0
        self._distance = FIRST
        self._trials: list[int] = []
        self._trial: list[float] = []  # share of the mean time that each step of the trial took

    def read(self, tokens: int, share: float) -> None:
        """A step with `tokens` of prompts got `share` (0 to 1) of the time that `prefill` threads could have had."""
        if tokens < FEW:
            return
        self._read += 1
        self._starved = self._starved + 1 if share < STARVED else max(0.0, self._starved - 0.5)
        if self._starved >= LASTING and self.prefill > 1:
            self.prefill = max(1, min(self.prefill - 1, round(share * self.prefill)))
            self._read, self._starved = 0, 0.0
        elif self.prefill < self._reading and self._read >= (AGAIN if self._left else EVERY):
            self.prefill = self._reading
            self._read, self._starved, self._left = 0, 0.0, False

    def measured(self, writers: int, seconds: float, share: float) -> None:
        """A step of one token for each of `writers` took `seconds` with `count` threads.

        `share` is the processor time they got of what they could have had, from 0 to 1.
        """
        if self._most == 1:
            return
        if self.count != self.chosen:
            self._judge(writers, seconds)
            return
        usual = self._usual.get(writers)
        sign = share < STARVED or (usual is not None and seconds > SLOWER * usual)
        weight = FIRST if usual is not None and seconds > GLARING * usual else 1
        self._since += 1
        self._signs = min(self._signs + weight, 2 * FIRST) if sign else max(0.0, self._signs - CALM)
        if not self._signs and not self.fewer:  # what was tried in vain before says nothing about the next neighbour
            self._distance = max(FIRST, self._distance // 2)
        self._mean[writers] = _blend(self._mean.get(writers), seconds, RECENT)
        if usual is None or not sign:
            self._usual[writers] = _blend(usual, seconds, 0.1)
        if self._since >= self._due():
            if self._signs >= FIRST:
                self._usual = {}
            self._look()

    def _due(self) -> int:
        """Steps from one look to the next. With fewer threads a look may cost seconds: only where cores are idle."""
        if self.fewer:
            return max(SOON, self._distance) if self._left else EVERY
        return self._distance if self._signs >= FIRST else EVERY

    @property
    def fewer(self) -> bool:
        """Whether steps of one token per writer have fewer threads than they began with: the neighbour may leave."""
        return self.chosen < self._start

    @property
    def short(self) -> bool:
        """Whether any steps have fewer threads than they began with."""
        return self.fewer or self.prefill < self._reading

    def idle(self, cores: float) -> None:
        """So many `cores` had nothing to do lately: where fewer threads are used, look again soon."""
        self._left = cores > IDLE

    def _look(self) -> None:
        """Begin to try the neighbouring counts."""
        self._signs, self._since, self._left = 0.0, 0, False
        self._trials = [count for count in (self.chosen - 1, self.chosen + 1) if 1 <= count <= self._most]
        self.count, self._trial = self._trials.pop(0), []

    def _judge(self, writers: int, seconds: float) -> None:
        """Take in a step of the trial; choose when there are enough."""
        self._trial.append(seconds / self._mean.get(writers, seconds))  # nothing to compare with speaks for no change
        share = sum(self._trial) / len(self._trial)
        if len(self._trial) < TRIAL and share < HOPELESS:
            return
        if share < BETTER:
            self.chosen, self._trials = self.count, []
            self._usual, self._mean = {writers: seconds}, {writers: seconds}
            self._distance = 4 * FIRST
        elif self._trials:
            self.count, self._trial = self._trials.pop(0), []
        else:
            self.count = self.chosen
            self._distance = min(2 * self._distance, EVERY)


def _blend(old: float | None, new: float, weight: float) -> float:
    return new if old is None else old + weight * (new - old)
