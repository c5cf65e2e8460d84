"""Micro-benchmarks: single steps of an engine, timed. Runs in the child only.

A step that somebody disturbed counts only where all were: a neighbour can only make a step longer.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from edgechat import registry
from edgechat.engine.base import Scorer, Slice
from edgechat.tune.letters import ENGINE
from edgechat.types import Sampling

SLICE = 128  # prompt tokens of a step, as in service while nobody else reads
CONTEXT = 256  # the engine has cells for four of them, and one sequence may take them all
MEMORY = 1 << 40  # bytes: what is loaded here was checked by the parent
FAIR = 0.9  # of the processor time that a step's threads could have had: less, and somebody disturbed it
ENOUGH = 2  # steps without a disturbance, to know what a step usually takes

Told = Callable[[float], None]


def load(path: Path, threads: int, flash: bool = True) -> Scorer:
    """A model, ready to be timed."""
    make = registry.load(registry.ENGINES, ENGINE, "engine")
    engine: Scorer = make(path, CONTEXT, MEMORY, threads, lambda _: None, flash=flash)
    engine.settle()
    return engine


class Took(NamedTuple):
    """One step: its seconds, and the processor time its threads got of what they could have had, from 0 to 1."""

    seconds: float
    share: float


def usual(times: Sequence[Took]) -> float:
    """The median in seconds of the steps that nobody disturbed; where all were, the one that was disturbed least."""
    fair = [took.seconds for took in times if took.share >= FAIR]
    return median(fair) if fair else min(took.seconds for took in times)


def calm(times: Sequence[Took]) -> bool:
    """Whether enough steps were not disturbed."""
    return sum(took.share >= FAIR for took in times) >= ENOUGH


def timed(engine: Scorer, batch: Sequence[Slice], threads: int = 0) -> Took:
    """One step, computed by so many threads; 0 is what the engine was loaded with."""
    threads = threads or engine.info.threads
    began, spent = time.perf_counter(), time.process_time()
    engine.step(batch)
    seconds = time.perf_counter() - began
    return Took(seconds, (time.process_time() - spent) / (seconds * threads))


def prefill(engine: Scorer, start: int, tokens: int, threads: int = 0) -> Took:
    """One slice; its seconds are those of a token."""
    took = timed(engine, [Slice(0, start, filler(engine, tokens))], threads)
    return took._replace(seconds=took.seconds / tokens)


def decode(engine: Scorer, start: int, steps: int, users: int, threads: int = 0) -> list[Took]:
    """`steps` steps in which each of `users` gets a token."""
    sampler = engine.sampler(Sampling(temperature=0))
    (token,) = filler(engine, 1)
    batches = ([Slice(user, at, [token], sampler) for user in range(users)] for at in range(start, start + steps))
    return [timed(engine, batch, threads) for batch in batches]


def filler(engine: Scorer, tokens: int) -> list[int]:
    """Any ordinary tokens: their values do not change a step's time."""
    word = engine.tokenizer.encode(" a")[-1:]
    return word * tokens


def close(engines: Iterable[Scorer]) -> None:
    """Free every model."""
    for engine in engines:
        engine.close()
