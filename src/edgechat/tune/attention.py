"""Flash attention: whether it is the faster one here: it differs between processors. Runs in the child only."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from edgechat.engine.base import Scorer, Slice
from edgechat.tune.speed import Speed
from edgechat.tune.timing import SLICE, Told, Took, close, decode, filler, load, prefill, timed, usual
from edgechat.types import Sampling

FAR = 512  # tokens that a conversation has when attention is timed: near its beginning there is little to attend to
STEPS = 16  # timed steps of one token there
VISITS, VISITOR = 6, 31  # timed steps of a writer beside so many tokens of a newcomer's prompt
WORTH = 1.01  # times faster that a turn has to be
HELD_UP = 1.05  # times longer that a writer's step beside a newcomer may take


class Attention(NamedTuple):
    """What one way of attention gives: seconds of a usual turn, and of a writer's step beside a newcomer's slice."""

    turn: float
    beside: float

    def beats(self, usual: "Attention") -> bool:
        """Whether it is faster in a turn, and hardly anybody waits longer."""
        return self.turn * WORTH <= usual.turn and self.beside <= HELD_UP * usual.beside


def flash(model: Path, threads: int, told: Told) -> bool:
    """Whether flash attention is the faster one for `model`, far into a conversation. Both are timed in turns."""
    engines: list[Scorer] = []
    try:
        for one_pass in (False, True):
            engines.append(load(model, threads, one_pass))
            told(0.3 * len(engines))
        without, with_it = _attention(engines)
    finally:
        close(engines)
    return with_it.beats(without)


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
    """A step with one token of the writer and a slice of the newcomer's prompt."""
    sampler = engine.sampler(Sampling(temperature=0))
    writer = Slice(0, FAR + STEPS + number, filler(engine, 1), sampler)
    return timed(engine, [writer, Slice(1, number * VISITOR, filler(engine, VISITOR))])
