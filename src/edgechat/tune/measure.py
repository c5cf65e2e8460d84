"""What is measured, in the engine that serves. Runs in the child only.

A machine's speed drifts by a third from minute to minute. So whatever is compared is loaded together and timed in
turns, step by step, medians are taken, and a step that somebody disturbed counts only where all were.
"""

from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from edgechat.engine.base import Scorer, Slice
from edgechat.errors import ModelUnsupported
from edgechat.gguf.header import read_header
from edgechat.gguf.recast import twin
from edgechat.gguf.shape import attending, depth
from edgechat.process import atomic
from edgechat.process.disk import writing
from edgechat.tune.divergence import Floats, compare, log_probabilities
from edgechat.tune.letters import PASSAGES, SCORED
from edgechat.tune.quality import Row
from edgechat.tune.recipes import cast, layers_share
from edgechat.tune.speed import FEW, MORE, Cost, Pair, Speed, Timing
from edgechat.tune.timing import SLICE, Told, Took, calm, close, decode, load, prefill, usual

LEAD = 64  # tokens of a passage that are read first: a text's first tokens say little
CHUNK = 1 << 20  # bytes written at once
DEPTH = 256  # tokens that a conversation has when its decoding is timed
READS, MOST_READS = 2, 6  # times that so many tokens are read; the most while somebody disturbs
STEPS = 16  # timed steps of one token
USERS = 4  # who write at once
TOGETHER = 6  # timed steps of theirs
TWIN_ROUNDS, TWIN_STEPS, TWIN_PROMPT = 5, 3, 64


# ── quality ──


def read(model: Path, rows: Path, threads: int, told: Told) -> None:
    """Write the (rows, vocabulary) float16 log probabilities of the calibration text; whole, or not there."""
    engine = load(model, threads)
    shape = (len(PASSAGES) * SCORED, engine.info.vocabulary)
    try:
        with atomic.replacing(rows, durable=False) as part:
            kept = _room(part, shape)
            for at, logits in _scored(engine, 0, SCORED):
                kept[at : at + len(logits)] = log_probabilities(logits)
                told((at + len(logits)) / shape[0])
            kept.flush()
    finally:
        engine.close()


def _room(part: Path, shape: tuple[int, int]) -> "np.memmap[tuple[int, int], np.dtype[np.float16]]":
    """An array in the file `part`. Every byte of it is written once: a disk that is full says so here.

    Written through the array only, it would kill the process. Raises NoSpace.
    """
    kept = open_memmap(part, mode="w+", dtype=np.float16, shape=shape)
    with writing(part.parent), part.open("r+b") as file:
        file.seek(kept.offset)
        for at in range(0, kept.nbytes, CHUNK):
            file.write(bytes(min(CHUNK, kept.nbytes - at)))
    return kept


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
    header = read_header(model)
    period = min(attending(header), default=0) + 1  # layers that recur come with one that attends, in every twin
    more = min(MORE, depth(header) // period)
    if more <= FEW:
        raise ModelUnsupported(f"{model.name} has too few layers to tell what one of them costs: it is not tuned.")
    share, sizes = layers_share(header, more * period), (FEW * period, more * period)
    standard = _twins(model, folder, kinds[0], threads, sizes)
    try:
        usual = _time_twins(standard)
        found[kinds[0]] = Cost.of(usual[sizes[0]], usual[sizes[1]], share, more).shared(period)
        for number, kind in enumerate(kinds[1:], 1):
            told(number / len(kinds))
            others = _twins(model, folder, kind, threads, sizes)
            try:
                now = _time_twins(standard | {-size: engine for size, engine in others.items()})
            finally:
                close(others.values())
            small, large = (_scaled(now[-size], now[size], usual[size]) for size in sizes)
            found[kind] = Cost.of(small, large, share, more).shared(period)
    finally:
        close(standard.values())
    return found


def _scaled(timing: Timing, beside: Timing, usual: Timing) -> Timing:
    """`timing` as it would have been when `beside` was `usual`."""
    return Timing(timing.step * usual.step / beside.step, timing.token * usual.token / beside.token)


def _twins(model: Path, folder: Path, kind: str, threads: int, sizes: Sequence[int]) -> dict[int, Scorer]:
    """Loaded twins by their number of layers. Their files are gone again: the engine has them mapped."""
    twins: dict[int, Scorer] = {}
    for size in sizes:
        path = folder / f"twin-{kind}-{size}.gguf"
        try:
            twin(model, path, size, lambda tensor: cast(tensor, kind))
            twins[size] = load(path, threads)
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
            tokens[name].append(prefill(engine, 0, TWIN_PROMPT))
            steps[name] += decode(engine, TWIN_PROMPT, TWIN_STEPS, 1)
    return {name: Timing(usual(steps[name]), usual(tokens[name])) for name in twins}


def race(as_it_is: Path, model: Path, flash: bool, threads: int, told: Told) -> Pair:
    """The speed of two whole models, timed in turns: the file as it is served untuned, and `model`."""
    engines: list[Scorer] = []
    try:
        engines.append(load(as_it_is, threads))
        told(0.15)
        engines.append(load(model, threads, flash))
        return Pair(*_race(engines, told))
    finally:
        close(engines)


def _race(engines: Sequence[Scorer], told: Told) -> list[Speed]:
    read, alone, together = ([list[Took]() for _ in engines] for _ in range(3))
    for turn in range(MOST_READS):
        if turn >= READS and all(calm(steps) for steps in read):
            break
        for engine in engines:
            engine.trim(0)
        for at in range(0, DEPTH, SLICE):
            for number, engine in enumerate(engines):
                read[number].append(prefill(engine, at, SLICE))
            told(min(0.7, 0.3 + 0.4 * (turn + (at + SLICE) / DEPTH) / READS))
    for engine in engines:
        for user in range(1, USERS):
            engine.share(0, user, 0, DEPTH)
    for done in range(0, STEPS, 4):
        for number, engine in enumerate(engines):
            alone[number] += decode(engine, DEPTH + done, 4, 1)
        told(0.7 + 0.15 * done / STEPS)
    for engine in engines:
        engine.trim(0)  # whole, and taken back: a running state cannot be stepped back
        engine.share(1, 0, 0, DEPTH)
    for done in range(0, TOGETHER, 2):
        for number, engine in enumerate(engines):
            together[number] += decode(engine, DEPTH + done, 2, USERS)
    return [
        Speed(1 / usual(prompts), 1 / usual(steps), USERS / usual(shared))
        for prompts, steps, shared in zip(read, alone, together, strict=True)
    ]
