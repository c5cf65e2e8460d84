"""What a step costs deep in a conversation: a reader's token, alone, beside seven others, beside a newcomer's slice.

Attention is what grows with depth, so this shows it (engine/kernels/x86/attention.cpp). Milliseconds, the best of
several steps: others can only slow one down.

    python scripts/bench_depth.py MODEL.gguf [THREADS [DEPTH ...]]
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from edgechat import registry
from edgechat.engine.base import Scorer, Slice
from edgechat.tune.timing import SLICE, filler, timed
from edgechat.types import Sampling

DEPTHS = (64, 512, 1536)  # tokens, unless others are asked for
NEWCOMER = 15  # of its tokens in a step beside a reader
READERS, SHALLOW = 8, 100  # readers at once, and how deep each of them is
ROUNDS = 12


def read(engine: Scorer, seq: int, depth: int) -> float:
    """Tokens per second of a prompt so long."""
    seconds = 0.0
    for at in range(0, depth, SLICE):
        seconds += timed(engine, [Slice(seq, at, filler(engine, min(SLICE, depth - at)))]).seconds
    return depth / seconds


def best(engine: Scorer, batches: Iterator[list[Slice]]) -> float:
    return 1000 * min(timed(engine, batch).seconds for batch in batches)


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    threads = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    depths = [int(depth) for depth in sys.argv[3:]] or DEPTHS
    make = registry.load(registry.ENGINES, "llama_cpp", "engine")
    engine: Scorer = make(Path(sys.argv[1]), 2 * max(depths), 0, threads, lambda _: None)
    sampler = engine.sampler(Sampling(temperature=0))
    (token,) = filler(engine, 1)
    print(f"{threads} threads{'prompt tok/s':>20}{'a token, ms':>16}{f'a token and {NEWCOMER} of a prompt, ms':>36}")
    for depth in depths:
        for seq in (0, 1):
            engine.trim(seq)
        speed = read(engine, 0, depth)
        read(engine, 1, SHALLOW)
        alone = best(engine, ([Slice(0, depth + i, [token], sampler)] for i in range(ROUNDS)))
        reader = ([Slice(1, SHALLOW + i, [token], sampler)] for i in range(ROUNDS))
        slices = ([Slice(0, depth + ROUNDS + NEWCOMER * i, filler(engine, NEWCOMER))] for i in range(ROUNDS))
        beside = best(engine, (one + more for one, more in zip(reader, slices, strict=True)))
        print(f"{depth:5} deep{speed:20.0f}{alone:16.1f}{beside:36.1f}")
    for seq in range(READERS):
        engine.trim(seq)
        read(engine, seq, SHALLOW)
    step = best(engine, ([Slice(seq, SHALLOW + i, [token], sampler) for seq in range(READERS)] for i in range(ROUNDS)))
    print(f"a token for each of {READERS}, {SHALLOW} deep: {step:.1f} ms")


if __name__ == "__main__":
    main()
