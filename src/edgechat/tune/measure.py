"""What is measured, in the engine that serves. Runs in the child only.

A machine's speed drifts by a third from minute to minute. So whatever is compared is loaded together and timed in
turns, step by step, medians are taken, and a step that somebody disturbed counts only where all were.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.lib.format import open_memmap

from edgechat import gguf, registry
from edgechat.engine.base import Scorer, Slice
from edgechat.engine.recast import twin
from edgechat.tune.divergence import Floats, compare, log_probabilities
from edgechat.tune.letters import ENGINE, PASSAGES, SCORED
from edgechat.tune.quality import Row
from edgechat.tune.recipes import layers_share
from edgechat.tune.speed import FEW, MORE, Cost, Speed, Timing
from edgechat.types import Sampling

LEAD = 64  # tokens of a passage that are read first: a text's first tokens say little
SLICE = 128  # prompt tokens of a step, as in service while nobody else reads
DEPTH = 256  # tokens that a conversation has when its decoding is timed
STEPS = 16  # timed steps of one token
USERS = 4  # who write at once
TOGETHER = 6  # timed steps of theirs
TWIN_ROUNDS, TWIN_STEPS, TWIN_PROMPT = 5, 3, 64
FAIR = 0.9  # of the processor time that a step's threads could have had: less, and somebody disturbed it
CONTEXT = 1024
MEMORY = 1 << 40  # bytes: what is loaded here was checked by the parent
SLICES = (32, 64, 128)
NEAR = 0.95  # a smaller slice is taken when it is nearly as fast: a reader waits less for it

Told = Callable[[float], None]


def load(path: Path, threads: int) -> Scorer:
    """A model, ready to be timed."""
    make = registry.load(registry.ENGINES, ENGINE, "engine")
    engine: Scorer = make(path, CONTEXT, MEMORY, threads, lambda _: None)
    return engine


# ── quality ──


def read(model: Path, rows: Path, threads: int, told: Told) -> None:
    """Write the (rows, vocabulary) float16 log probabilities of the calibration text; whole, or not there."""
    engine = load(model, threads)
    part = rows.with_name(rows.name + ".part")
    shape = (len(PASSAGES) * SCORED, engine.info.vocabulary)
    try:
        kept = open_memmap(part, mode="w+", dtype=np.float16, shape=shape)
        for at, logits in _scored(engine, 0, SCORED):
            kept[at : at + len(logits)] = log_probabilities(logits)
            told((at + len(logits)) / shape[0])
        kept.flush()
        part.replace(rows)
    finally:
        part.unlink(missing_ok=True)
        engine.close()


def judge(model: Path, rows: Path, start: int, stop: int, threads: int, told: Told) -> list[Row]:
    """The model's rows from `start` to `stop` of every passage against those in the file `rows`."""
    engine = load(model, threads)
    kept = np.load(rows, mmap_mode="r")
    judged: list[Row] = []
    try:
        for at, logits in _scored(engine, start, stop):
            judged += compare(kept[at : at + len(logits)], logits)
            told(len(judged) / (len(PASSAGES) * (stop - start)))
    finally:
        engine.close()
    return judged


def _scored(engine: Scorer, start: int, stop: int) -> Iterator[tuple[int, Floats]]:
    """(index of the first row, logits) of each stretch of the text."""
    most = engine.sequences
    for passage, name in enumerate(PASSAGES):
        tokens = _passage(engine, name)
        engine.trim(0)
        for at in range(0, LEAD + start, SLICE):
            engine.step([Slice(0, at, tokens[at : min(at + SLICE, LEAD + start)])])
        for at in range(start, stop, most):
            end = min(at + most, stop)
            yield passage * SCORED + at, engine.logits(0, LEAD + at, tokens[LEAD + at : LEAD + end])


def _passage(engine: Scorer, name: str) -> list[int]:
    text = files(__package__).joinpath("calibration", f"{name}.txt").read_text(encoding="utf-8")
    tokens = engine.tokenizer.encode(text)
    return (tokens * (1 + (LEAD + SCORED) // len(tokens)))[: LEAD + SCORED]


# ── speed ──


def costs(model: Path, folder: Path, kinds: Sequence[str], threads: int, told: Told) -> dict[str, Cost]:
    """What each type costs per layer and as a head; see speed.py. The first type is timed beside every other one."""
    found: dict[str, Cost] = {}
    share = layers_share(gguf.read_header(model), MORE)
    standard = _twins(model, folder, kinds[0], threads)
    try:
        usual = _time_twins(standard)
        found[kinds[0]] = Cost.of(usual[FEW], usual[MORE], share)
        for number, kind in enumerate(kinds[1:], 1):
            told(number / len(kinds))
            others = _twins(model, folder, kind, threads)
            try:
                now = _time_twins(standard | {-layers: engine for layers, engine in others.items()})
            finally:
                _close(others.values())
            few, more = (_scaled(now[-n], now[n], usual[n]) for n in (FEW, MORE))
            found[kind] = Cost.of(few, more, share)
    finally:
        _close(standard.values())
    return found


def _scaled(timing: Timing, beside: Timing, usual: Timing) -> Timing:
    """`timing` as it would have been when `beside` was `usual`."""
    return Timing(timing.step * usual.step / beside.step, timing.token * usual.token / beside.token)


def _twins(model: Path, folder: Path, kind: str, threads: int) -> dict[int, Scorer]:
    """Loaded twins by their number of layers. Their files are gone again: the engine has them mapped."""
    twins: dict[int, Scorer] = {}
    for layers in (FEW, MORE):
        path = folder / f"twin-{kind}-{layers}.gguf"
        try:
            twin(model, path, kind, layers)
            twins[layers] = load(path, threads)
        finally:
            path.unlink(missing_ok=True)
    return twins


def _time_twins(twins: dict[int, Scorer]) -> dict[int, Timing]:
    """Each twin's timing, taken in turns."""
    steps: dict[int, list[Took]] = {name: [] for name in twins}
    tokens: dict[int, list[Took]] = {name: [] for name in twins}
    for _ in range(TWIN_ROUNDS):
        for name, engine in twins.items():
            engine.trim(0)
            tokens[name].append(_prefill(engine, 0, TWIN_PROMPT))
            steps[name] += _decode(engine, TWIN_PROMPT, TWIN_STEPS, 1)
    return {name: Timing(_usual(steps[name]), _usual(tokens[name])) for name in twins}


def race(models: Sequence[Path], threads: int, told: Told) -> list[Speed]:
    """The speed of whole models, timed in turns."""
    engines: list[Scorer] = []
    try:
        for path in models:
            engines.append(load(path, threads))
            told(0.3 * len(engines) / len(models))
        return _race(engines, told)
    finally:
        _close(engines)


def _race(engines: Sequence[Scorer], told: Told) -> list[Speed]:
    every = range(len(engines))
    prefill: list[list[Took]] = [[] for _ in every]
    alone: list[list[Took]] = [[] for _ in every]
    together: list[list[Took]] = [[] for _ in every]
    for at in range(0, DEPTH, SLICE):
        for number, engine in enumerate(engines):
            prefill[number].append(_prefill(engine, at, SLICE))
            told(0.3 + 0.4 * (at + SLICE * number / len(engines)) / DEPTH)
    for engine in engines:
        for user in range(1, USERS):
            engine.share(0, user, 0, DEPTH)
    for done in range(0, STEPS, 4):
        for number, engine in enumerate(engines):
            alone[number] += _decode(engine, DEPTH + done, 4, 1)
        told(0.7 + 0.15 * done / STEPS)
    for engine in engines:
        engine.trim(0, DEPTH)
    for done in range(0, TOGETHER, 2):
        for number, engine in enumerate(engines):
            together[number] += _decode(engine, DEPTH + done, 2, USERS)
    rates = (
        (1 / _usual(read), 1 / _usual(one), USERS / _usual(all_))
        for read, one, all_ in zip(prefill, alone, together, strict=True)
    )
    return [Speed(*rate) for rate in rates]


def settle(model: Path, threads: int, told: Told) -> tuple[int, int, int]:
    """(threads for decoding, threads for prompts, prompt tokens of a step) that are fastest for `model`."""
    engine = load(model, threads)
    counts = _counts(threads)
    decode: dict[int, list[Took]] = {count: [] for count in counts}
    prefill: dict[int, list[Took]] = {count: [] for count in counts}
    slices: dict[int, float] = {}
    try:
        for turn in range(2):
            for count in counts:
                engine.set_threads(count)
                engine.trim(0)
                prefill[count].append(_prefill(engine, 0, SLICES[0], count))
                decode[count] += _decode(engine, SLICES[0], 4, 1, count)
            told(0.25 * (turn + 1))
        few, many = (min(counts, key=lambda count: _usual(taken[count])) for taken in (decode, prefill))
        engine.set_threads(many)
        for number, slice_ in enumerate(SLICES, 1):
            engine.trim(0)
            times = [_prefill(engine, at, slice_, many) for at in range(0, SLICES[-1], slice_)]
            slices[slice_] = 1 / _usual(times)
            told(0.5 + 0.5 * number / len(SLICES))
    finally:
        engine.close()
    best = max(slices.values())
    return few, many, min(slice_ for slice_, rate in slices.items() if rate >= NEAR * best)


def _counts(most: int) -> list[int]:
    """Thread counts worth a look: the powers of two, and all."""
    return sorted({1 << power for power in range(most.bit_length()) if 1 << power <= most} | {most})


class Took(NamedTuple):
    """One step: its seconds, and the processor time its threads got of what they could have had, from 0 to 1."""

    seconds: float
    share: float


def _usual(times: Sequence[Took]) -> float:
    """The median, over the steps that nobody disturbed if there are any: a neighbour can only make a step longer."""
    fair = [took.seconds for took in times if took.share >= FAIR]
    return median(fair or [took.seconds for took in times])


def _timed(engine: Scorer, batch: Sequence[Slice], threads: int) -> Took:
    began, spent = time.perf_counter(), time.process_time()
    engine.step(batch)
    seconds = time.perf_counter() - began
    return Took(seconds, (time.process_time() - spent) / (seconds * threads))


def _prefill(engine: Scorer, start: int, tokens: int, threads: int = 0) -> Took:
    """One slice; its seconds are those of a token."""
    took = _timed(engine, [Slice(0, start, _filler(engine, tokens))], threads or engine.info.threads)
    return took._replace(seconds=took.seconds / tokens)


def _decode(engine: Scorer, start: int, steps: int, users: int, threads: int = 0) -> list[Took]:
    """`steps` steps in which each of `users` gets a token."""
    sampler = engine.sampler(Sampling(temperature=0))
    (token,) = _filler(engine, 1)
    batches = ([Slice(user, at, [token], sampler) for user in range(users)] for at in range(start, start + steps))
    times = [_timed(engine, batch, threads or engine.info.threads) for batch in batches]
    sampler.close()
    return times


def _filler(engine: Scorer, tokens: int) -> list[int]:
    """Any ordinary tokens: their values do not change a step's time."""
    word = engine.tokenizer.encode(" a")[-1:]
    return word * tokens


def _close(engines: Iterable[Scorer]) -> None:
    for engine in engines:
        engine.close()
