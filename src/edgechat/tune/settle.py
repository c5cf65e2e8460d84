"""How a model runs best here: attention in one pass or not, how many threads, how long a slice. In the child only."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from edgechat.engine.base import Scorer, Slice
from edgechat.tune import bandwidth
from edgechat.tune.letters import Settled
from edgechat.tune.speed import Speed
from edgechat.tune.timing import SLICE, Told, Took, close, decode, filler, load, prefill, timed, usual
from edgechat.types import Sampling

FAR = 512  # tokens that a conversation has when attention is timed: near its beginning there is little to attend to
STEPS = 8  # timed steps of one token there
VISITS, VISITOR = 4, 31  # timed steps of a reader beside so many tokens of a newcomer's prompt
SLICES = (32, 64, 128)
NEAR = 0.97  # a smaller slice is taken when it is nearly as fast: a reader waits less for it
WORTH = 1.03  # times faster that flash attention has to be: it takes more memory traffic as a conversation grows


def settle(model: Path, threads: int, told: Told) -> Settled:
    """What is fastest for `model` with at most `threads`, and what the memory gives them."""
    flash = _flash(model, threads, told)
    engine = load(model, threads, flash)
    try:
        few, many = _threads(engine, threads)
        told(0.8)
        slice_ = _slice(engine, many)
    finally:
        engine.close()
    return Settled(few, many, slice_, flash, bandwidth.measured(threads))


# ── attention ──


class Attention(NamedTuple):
    """What one way of attention gives: seconds of a usual turn, and of a reader's step beside a newcomer's slice."""

    turn: float
    beside: float

    def beats(self, usual: "Attention") -> bool:
        """Whether it is really faster in a turn, and nobody waits longer."""
        return self.turn * WORTH <= usual.turn and self.beside <= usual.beside


def _flash(model: Path, threads: int, told: Told) -> bool:
    """Whether flash attention is the faster one, far into a conversation. Both are timed in turns."""
    engines: list[Scorer] = []
    try:
        for flash in (False, True):
            engines.append(load(model, threads, flash))
            told(0.15 * len(engines))
        usual_way, one_pass = _attention(engines)
    finally:
        close(engines)
    told(0.6)
    return one_pass.beats(usual_way)


def _attention(engines: Sequence[Scorer]) -> list[Attention]:
    read, alone, beside = ([list[Took]() for _ in engines] for _ in range(3))
    for at in range(0, FAR, SLICE):
        for number, engine in enumerate(engines):
            read[number].append(prefill(engine, at, SLICE))
    for done in range(0, STEPS, 4):
        for number, engine in enumerate(engines):
            alone[number] += decode(engine, FAR + done, 4, 1)
    for visit in range(VISITS):
        for number, engine in enumerate(engines):
            beside[number].append(_visit(engine, visit))
    return [
        Attention(Speed(1 / usual(prompts), 1 / usual(steps)).turn, usual(shared))
        for prompts, steps, shared in zip(read, alone, beside, strict=True)
    ]


def _visit(engine: Scorer, number: int) -> Took:
    """A step with one token of the reader and a slice of the newcomer's prompt."""
    sampler = engine.sampler(Sampling(temperature=0))
    reader = Slice(0, FAR + STEPS + number, filler(engine, 1), sampler)
    took = timed(engine, [reader, Slice(1, number * VISITOR, filler(engine, VISITOR))])
    sampler.close()
    return took


# ── threads, slice ──


def _threads(engine: Scorer, most: int) -> tuple[int, int]:
    """(threads for steps of one token, threads for prompts) that are fastest."""
    counts = _counts(most)
    steps: dict[int, list[Took]] = {count: [] for count in counts}
    prompts: dict[int, list[Took]] = {count: [] for count in counts}
    for _ in range(2):
        for count in counts:
            engine.set_threads(count)
            engine.trim(0)
            prompts[count].append(prefill(engine, 0, SLICES[1], count))
            steps[count] += decode(engine, SLICES[1], 4, 1, count)
    few, many = (min(counts, key=lambda count: usual(taken[count])) for taken in (steps, prompts))
    return few, many


def _counts(most: int) -> list[int]:
    """Thread counts worth a look: the powers of two, and all."""
    return sorted({1 << power for power in range(most.bit_length()) if 1 << power <= most} | {most})


def _slice(engine: Scorer, threads: int) -> int:
    """The shortest slice that is nearly as fast as the fastest one."""
    engine.set_threads(threads)
    rates: dict[int, float] = {}
    for slice_ in SLICES:
        engine.trim(0)
        rates[slice_] = 1 / usual([prefill(engine, at, slice_, threads) for at in range(0, 2 * SLICES[-1], slice_)])
    return min(slice_ for slice_, rate in rates.items() if rate >= NEAR * max(rates.values()))
