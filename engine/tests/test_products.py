"""Products of one row and interleaved 4-bit blocks (kernels/x86/interleaved.cpp, where it has the instructions).

Held against ggml's own reference, which the library brings along for every processor.
"""

import ctypes
import platform

import numpy as np
import pytest
from numpy.typing import NDArray

from edgechat_engine.library import processor_module

WEIGHTS, ACTIVATIONS = 8, 1  # scales of a block: columns or rows that lie interleaved
BITS = {WEIGHTS: 4, ACTIVATIONS: 8}
TOLERANCE = 1e-5  # of the largest result: scales are multiplied and added in another order


def product(name: str, size: int, columns: int, weights: bytes, activations: bytes) -> NDArray[np.float32]:
    """(1, columns) by a function of ggml's."""
    ggml = processor_module()
    ggml.ggml_cpu_init()  # its tables
    function = ggml[name]
    pointer, number = ctypes.c_void_p, ctypes.c_int
    function.argtypes = (number, pointer, ctypes.c_size_t, pointer, pointer, number, number)
    result = np.full((1, columns), np.nan, dtype=np.float32)
    function(size, result.ctypes.data, columns, weights, activations, 1, columns)
    return result


def blocks(dice: np.random.Generator, count: int, interleaved: int) -> bytes:
    """`count` groups of blocks of 32 numbers: scales in float16, then the numbers."""
    scales = dice.uniform(0, 0.01, (count, interleaved)).astype(np.float16).view(np.uint8)
    if BITS[interleaved] == 4:
        numbers = dice.integers(0, 256, (count, 16 * interleaved), dtype=np.uint8)
    else:
        numbers = dice.integers(-127, 128, (count, 32 * interleaved), dtype=np.int8).view(np.uint8)
    return np.hstack([scales, numbers]).tobytes()


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other processors interleave otherwise")
@pytest.mark.parametrize("kind", ["q4_0", "iq4_nl"])
@pytest.mark.parametrize("size", [32, 896])
@pytest.mark.parametrize("columns", [8, 16, 72])
def test_they_are_the_references(kind: str, size: int, columns: int) -> None:
    dice = np.random.default_rng(size + columns)
    weights = blocks(dice, size // 32 * columns // 8, WEIGHTS)
    activations = blocks(dice, size // 32, ACTIVATIONS)
    name = f"ggml_gemv_{kind}_8x8_q8_0"
    ours = product(name, size, columns, weights, activations)
    reference = product(f"{name}_generic", size, columns, weights, activations)
    np.testing.assert_allclose(ours, reference, rtol=0, atol=TOLERANCE * np.abs(reference).max())
