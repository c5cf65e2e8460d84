"""Products of 4-bit blocks per second, in one thread: ggml's functions beside engine/kernels/x86/interleaved.cpp.

The matrix is small enough for the processor's cache, so that the arithmetic is measured and not the memory.

    python scripts/bench_products.py
"""

import ctypes
import sys
import time

from edgechat_engine.library import processor_module

SIZE, COLUMNS = 896, 1216  # weights of a column; columns
BLOCK, TOGETHER = 32, 4  # weights that share a scale; rows that lie interleaved where there are several
ROWS = (1, 4, 28, 128)
ROUNDS = 40
ANY = b"\x11"  # values do not change how long it takes


def fastest(function: object, weights: bytes, activations: bytes, rows: int) -> float:
    """Seconds of one call, the best of many: others can only slow it down."""
    assert callable(function)
    into = (ctypes.c_float * (rows * COLUMNS))()
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        function(SIZE, into, ctypes.c_size_t(COLUMNS), weights, activations, rows, COLUMNS)
        best = min(best, time.perf_counter() - began)
    return best


def main() -> None:
    library = processor_module()
    if not hasattr(library, "stock_ggml_gemm_q4_0_8x8_q8_0"):
        sys.exit("This engine has ggml's functions only.")
    library.ggml_cpu_init()
    blocks = SIZE // BLOCK
    weights = ANY * (blocks * COLUMNS * (2 + BLOCK // 2))
    print(f"{'':8}{'rows':>5}{'ggml':>8}{'ours':>8}   10^9 multiplications a second")
    for kind in ("iq4_nl", "q4_0"):
        for rows in ROWS:
            activations = ANY * (blocks * max(rows, TOGETHER) * (2 + BLOCK))
            name = f"ggml_{'gemv' if rows == 1 else 'gemm'}_{kind}_8x8_q8_0"
            pair = (fastest(library[each], weights, activations, rows) for each in (f"stock_{name}", name))
            old, new = (SIZE * COLUMNS * rows / seconds / 1e9 for seconds in pair)
            print(f"{kind:8}{rows:5}{old:8.1f}{new:8.1f}   {new / old:.2f}x")


if __name__ == "__main__":
    main()
