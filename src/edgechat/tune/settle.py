"""How a model runs best here: how many threads, how long a slice; and what the memory gives. In the child only."""

from pathlib import Path

from edgechat.engine.base import Scorer
from edgechat.tune import bandwidth
from edgechat.tune.letters import Settled
from edgechat.tune.timing import Told, Took, decode, load, prefill, usual

SLICES = (32, 64, 128)
NEAR = 0.97  # a smaller slice is taken when it is nearly as fast: a writer waits less beside it


def settle(model: Path, flash: bool, threads: int, told: Told) -> Settled:
    """What is fastest for `model` with at most `threads`, and what the memory gives them."""
    engine = load(model, threads, flash)
    try:
        few, many = _threads(engine, threads)
        told(0.5)
        slice_ = _slice(engine, many)
    finally:
        engine.close()
    return Settled(few, many, slice_, bandwidth.measured(threads))


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
