"""Memory bandwidth: what the memory gives, the roof over writing, which reads every weight for every token.

    tokens per second  <=  bandwidth / bytes that a token reads

Measured by comparing two halves of one block, in parts, with the C library's own vector code: nothing but reading.
"""

import ctypes
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

SIZE = 128 << 20  # bytes: more than the caches of such machines hold
ROUNDS = 6


def measured(
    threads: int, size: int = SIZE, rounds: int = ROUNDS, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Bytes per second that so many threads read together; the best of several rounds, as others only slow it down."""
    library = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None)
    library.memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    block = ctypes.create_string_buffer(size)
    ctypes.memset(block, 1, size)  # memory that was never written is not there yet
    start, half, part = ctypes.addressof(block), size // 2, size // 2 // threads

    def read(number: int) -> None:
        at = start + number * part
        library.memcmp(at, at + half, part)  # ctypes lets go of the interpreter meanwhile

    best = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(rounds):
            began = clock()
            list(pool.map(read, range(threads)))
            best = min(best, clock() - began)
    return 2 * part * threads / best
