"""Products with blocks as they lie in a file (kernels/x86/blocks.cpp, where the processor has the instructions).

Held against whole numbers: the activations are such that eight bits hold them exactly.
"""

import numpy as np
import pytest
from numpy.typing import NDArray

from graph import Q5_0, Q8_0, Graph

BLOCK = 32
TOLERANCE = 1e-5  # of the largest result: blocks are added up in another order


def weights(dice: np.random.Generator, kind: int, columns: int, size: int) -> tuple[bytes, NDArray[np.float64]]:
    """(the blocks, the numbers they stand for: (columns, size))"""
    count = columns * size // BLOCK
    scales = dice.uniform(0, 0.01, (count, 1)).astype(np.float16)
    if kind == Q8_0:
        numbers = dice.integers(-127, 128, (count, BLOCK), dtype=np.int8)
        laid = [numbers.view(np.uint8)]
    else:
        numbers = dice.integers(-16, 16, (count, BLOCK), dtype=np.int8)
        raised = (numbers + 16).astype(np.uint8)
        fifth = np.packbits(raised >> 4, axis=1, bitorder="little")
        halves = raised & 15
        laid = [fifth, halves[:, :16] | np.left_shift(halves[:, 16:], 4, dtype=np.uint8)]
    meant = (scales.astype(np.float64) * numbers).reshape(columns, size)
    return np.hstack([scales.view(np.uint8), *laid]).tobytes(), meant


def activations(dice: np.random.Generator, rows: int, size: int) -> NDArray[np.float32]:
    """(rows, size) whole numbers; the largest of each block is 127, so that its scale is 1."""
    numbers = dice.integers(-126, 127, (rows, size // BLOCK, BLOCK))
    numbers[:, :, 7] = 127
    return numbers.reshape(rows, size).astype(np.float32)


@pytest.mark.parametrize("kind", [pytest.param(Q8_0, id="q8_0"), pytest.param(Q5_0, id="q5_0")])
@pytest.mark.parametrize("size", [32, 896])
@pytest.mark.parametrize("columns", [1, 16, 40, 103])
@pytest.mark.parametrize("rows", [1, 2, 3, 7, 16, 33])
@pytest.mark.parametrize("threads", [1, 3])
def test_they_are_whole(kind: int, size: int, columns: int, rows: int, threads: int) -> None:
    dice = np.random.default_rng(size + columns + rows)
    blocks, meant = weights(dice, kind, columns, size)
    given = activations(dice, rows, size)
    graph = Graph()
    tensors = graph.tensor(kind, (columns, size), blocks), graph.array(given)
    found = graph.compute((rows, columns), threads, "ggml_mul_mat", *tensors)
    expected = given.astype(np.float64) @ meant.T
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())
