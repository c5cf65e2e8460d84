"""Products of matrices per second, in one thread: ggml's functions beside those of engine/kernels/x86/.

The matrix is small enough for the processor's cache, so that the arithmetic is measured and not the memory.

    python scripts/bench_products.py
"""

import ctypes
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgechat_engine import kernels
from edgechat_engine.library import processor_module

sys.path.insert(0, str(Path(__file__).parent.parent / "engine" / "tests"))

from graph import Graph

Run = Callable[[], object]
ROWS = (1, 4, 8, 28, 128)
ROUNDS = 40
ANY = b"\x11"  # values do not change how long it takes
SIZE, COLUMNS = 1536, 512  # weights of a column; columns
BLOCK, TOGETHER = 32, 4  # weights that share a scale; rows that lie interleaved where there are several
# ggml's number of each type, the bytes of a block, its weights
INTERLEAVED = {"iq4_nl": 20, "q4_0": 2}
IN_PLACE = {
    "q3_k": (11, 110, 256),
    "q4_k": (12, 144, 256),
    "q5_k": (13, 176, 256),
    "q6_k": (14, 210, 256),
    "iq4_xs": (23, 136, 256),
    "q5_0": (6, 22, 32),
    "q8_0": (8, 34, 32),
}


def fastest(run: Run) -> float:
    """Seconds of one call, the best of many: others can only slow it down."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - began)
    return best


def interleaved(kind: str, rows: int) -> tuple[Run, Run]:
    """(ggml's, ours): products of blocks of 32 weights, of which ggml interleaves eight columns."""
    library, blocks = processor_module(), SIZE // BLOCK
    function = library[f"ggml_{'gemv' if rows == 1 else 'gemm'}_{kind}_8x8_q8_0"]
    into = (ctypes.c_float * (rows * COLUMNS))()
    weights = ANY * (blocks * COLUMNS * (2 + BLOCK // 2))
    activations = ANY * (blocks * max(rows, TOGETHER) * (2 + BLOCK))
    graph = Graph()
    laid = graph.interleaved(INTERLEAVED[kind], (COLUMNS, SIZE), weights)
    given = graph.array(np.ones((rows, SIZE), dtype=np.float32))

    def stock() -> object:
        return function(SIZE, into, ctypes.c_size_t(COLUMNS), weights, activations, rows, COLUMNS)

    return stock, graph.ready(1, "ggml_mul_mat", laid, given, size=4 * rows * COLUMNS)[1]


def in_place(kind: str, rows: int) -> tuple[Run, Run]:
    """(ggml's, ours): products with blocks as they lie in a file. Those of two matrices at once are ggml's."""
    number, size, span = IN_PLACE[kind]

    def made(matrices: int) -> Run:
        graph, columns = Graph(), COLUMNS // matrices
        weights = graph.tensor(number, (matrices, columns, SIZE), ANY * (SIZE // span * COLUMNS * size))
        given = graph.array(np.ones((matrices, rows, SIZE), dtype=np.float32))
        return graph.ready(1, "ggml_mul_mat", weights, given, size=4 * rows * COLUMNS)[1]

    return made(2), made(1)


def main() -> None:
    if not kernels():
        sys.exit("This engine has ggml's functions only.")
    processor_module().ggml_cpu_init()
    print(f"{'':8}{'rows':>5}{'ggml':>8}{'ours':>8}   10^9 multiplications a second")
    for kind in (*INTERLEAVED, *IN_PLACE):
        for rows in ROWS:
            pair = map(fastest, (in_place if kind in IN_PLACE else interleaved)(kind, rows))
            old, new = (SIZE * COLUMNS * rows / seconds / 1e9 for seconds in pair)
            print(f"{kind:8}{rows:5}{old:8.1f}{new:8.1f}   {new / old:.2f}x")


if __name__ == "__main__":
    main()
