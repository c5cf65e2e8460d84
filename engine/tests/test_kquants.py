"""Products of K-quants (kernels/x86/kquants.cpp, where the processor has the instructions).

Held against double precision, the weights being unpacked here once more, from the bytes. Activations are such that
eight bits hold them exactly.
"""

from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from graph import Graph

SUPER = 256  # weights of a super-block
I32, Q4_K, Q5_K, Q6_K = 26, 12, 13, 14  # ggml_type
TOLERANCE = 1e-6  # of the largest result: sums are rounded to 24 bits on the way
Bytes = NDArray[np.uint8]
Doubles = NDArray[np.float64]


class Layout(NamedTuple):
    """Where things lie in a super-block: offsets."""

    kind: int
    size: int
    halves: tuple[int, ...]  # scales in float16


LAYOUTS = {"q4_k": Layout(Q4_K, 144, (0, 2)), "q5_k": Layout(Q5_K, 176, (0, 2)), "q6_k": Layout(Q6_K, 210, (208,))}


def half(raw: Bytes, at: int) -> Doubles:
    """(super-blocks, 1, 1)"""
    return raw[:, at : at + 2].copy().view(np.float16).astype(np.float64)[:, :, None]


def six_bits(raw: Bytes) -> tuple[Bytes, Bytes]:
    """(scales, mins) of eight groups, (super-blocks, 8) each, from twelve bytes."""
    first, second, third = raw[:, 0:4], raw[:, 4:8], raw[:, 8:12]
    scales = np.hstack([first & 63, third & 15 | first >> 6 << 4])
    mins = np.hstack([second & 63, third >> 4 | second >> 6 << 4])
    return scales, mins


def unpacked(name: str, raw: Bytes) -> Doubles:
    """(super-blocks, SUPER) the numbers that they stand for."""
    count = len(raw)
    if name == "q6_k":
        low, high = raw[:, :128].reshape(count, 2, 2, 32), raw[:, 128:192].reshape(count, 2, 1, 32)
        lower = np.concatenate([low & 15, low >> 4], axis=2)
        upper = np.concatenate([high >> shift & 3 for shift in (0, 2, 4, 6)], axis=2)
        numbers = (lower | upper << 4).reshape(count, 16, 16) - 32.0
        meant: Doubles = half(raw, 208) * raw[:, 192:208].copy().view(np.int8)[:, :, None] * numbers
        return meant.reshape(count, SUPER)
    scales, mins = six_bits(raw[:, 4:16])
    four = raw[:, -128:].reshape(count, 4, 1, 32)
    numbers = np.concatenate([four & 15, four >> 4], axis=2).reshape(count, 8, 32)
    if name == "q5_k":
        numbers |= (raw[:, None, 16:48] >> np.arange(8, dtype=np.uint8)[:, None] & 1) << 4
    meant = half(raw, 0) * scales[:, :, None] * numbers - half(raw, 2) * mins[:, :, None]
    return meant.reshape(count, SUPER)


def weights(dice: np.random.Generator, name: str, columns: int, size: int) -> tuple[bytes, Doubles]:
    """(the super-blocks, the numbers they stand for: (columns, size)): any bits, in every third one extreme ones."""
    layout, count = LAYOUTS[name], columns * size // SUPER
    raw = dice.integers(0, 256, (count, layout.size), dtype=np.uint8)
    raw[::3] = dice.choice(np.array([0x00, 0x7F, 0x80, 0xFF], dtype=np.uint8), raw[::3].shape)
    for at in layout.halves:
        scales = dice.uniform(-0.01, 0.01, count).astype(np.float16)
        scales[::5] = dice.choice(np.array([0, 6e-8, -6e-8, 6e-5], dtype=np.float16), scales[::5].shape)  # denormals
        raw[:, at : at + 2] = scales[:, None].view(np.uint8)
    return raw.tobytes(), unpacked(name, raw).reshape(columns, size)


def activations(dice: np.random.Generator, rows: int, size: int) -> NDArray[np.float32]:
    """(rows, size): in each super-block whole numbers times a power of two, the largest of which is 127.

    Every third row has nothing but 127 and its opposite, so that sums are as large as they can be.
    """
    numbers = dice.integers(-127, 128, (rows, size // SUPER, SUPER))
    numbers[::3] = np.where(numbers[::3] % 8, 127, -127)
    numbers[:, :, 7] = 127
    scales = np.exp2(dice.integers(-20, 20, (rows, size // SUPER, 1)))
    scales[dice.random(scales.shape) < 0.1] = 0
    return (numbers * scales).reshape(rows, size).astype(np.float32)


def product(
    name: str, blocks: bytes, shape: tuple[int, int], given: NDArray[np.float32], threads: int
) -> NDArray[np.float32]:
    graph = Graph()
    tensors = graph.tensor(LAYOUTS[name].kind, shape, blocks), graph.array(given)
    return graph.compute((len(given), shape[0]), threads, "ggml_mul_mat", *tensors)


def near(found: NDArray[np.float32], expected: Doubles) -> None:
    """Row by row: each has a scale of its own."""
    largest = np.abs(expected).max(axis=-1, keepdims=True)
    assert np.all(np.abs(found - expected) <= TOLERANCE * largest)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("size", [256, 1280, 2304])
@pytest.mark.parametrize("columns", [3, 8, 16, 17, 40])
@pytest.mark.parametrize("rows", [1, 2, 5, 7, 16, 17, 40])
@pytest.mark.parametrize("threads", [1, 3])
def test_they_are_the_sums(name: str, size: int, columns: int, rows: int, threads: int) -> None:
    dice = np.random.default_rng(size + columns + rows)
    blocks, meant = weights(dice, name, columns, size)
    given = activations(dice, rows, size)
    near(product(name, blocks, (columns, size), given, threads), given.astype(np.float64) @ meant.T)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("group", range(8))
def test_every_scale_and_every_min(name: str, group: int) -> None:
    """Each byte of the scales takes every value, each in a column of its own; one group alone has activations."""
    dice, columns = np.random.default_rng(group), 256
    blocks, _ = weights(dice, name, columns, SUPER)
    raw = np.frombuffer(blocks, dtype=np.uint8).reshape(columns, -1).copy()
    start, count = (192, 16) if name == "q6_k" else (4, 12)
    raw[:, start : start + count] = np.arange(256)[:, None] + np.arange(count)[None] * 37
    for at in LAYOUTS[name].halves:
        raw[:, at : at + 2] = np.full((columns, 1), 0.01, dtype=np.float16).view(np.uint8)
    given = np.zeros((2, SUPER), dtype=np.float32)
    given[:, 32 * group : 32 * group + 32] = activations(dice, 2, SUPER)[:, :32]
    near(product(name, raw.tobytes(), (columns, SUPER), given, 1), given.astype(np.float64) @ unpacked(name, raw).T)


@pytest.mark.parametrize("rows", [1, 6])
def test_numbers_that_are_none_stay_seen(rows: int) -> None:
    dice = np.random.default_rng(rows)
    blocks, meant = weights(dice, "q4_k", 16, 512)
    given = activations(dice, rows, 512)
    given[0, 300] = np.nan
    found = product("q4_k", blocks, (16, 512), given, 1)
    assert np.all(np.isnan(found[0]))
    near(found[1:], given[1:].astype(np.float64) @ meant.T)


@pytest.mark.parametrize("scale", [1e-38, 1e-44, 0.0])
@pytest.mark.parametrize("rows", [1, 6])
def test_activations_too_small_for_a_scale_give_next_to_nothing(scale: float, rows: int) -> None:
    dice = np.random.default_rng(rows)
    blocks, _ = weights(dice, "q6_k", 16, 512)
    given = np.full((rows, 512), scale, dtype=np.float32)
    assert np.abs(product("q6_k", blocks, (16, 512), given, 1)).max() <= 512 * 64 * 2 * scale


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("tokens", [1, 2, 9, 70])
@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
@pytest.mark.parametrize("threads", [1, 3])
def test_experts(name: str, tokens: int, own: bool, threads: int) -> None:
    """Each token goes to 2 of 5 experts, its row to both or one to each; nobody goes to the last one."""
    size, columns, experts, used = 512, 40, 5, 2
    dice = np.random.default_rng(tokens)
    parts = [weights(dice, name, columns, size) for _ in range(experts)]
    chosen = np.array([dice.permutation(experts - 1)[:used] for _ in range(tokens)], dtype=np.int32)
    given = activations(dice, tokens * (used if own else 1), size).reshape(tokens, -1, size)
    graph = Graph()
    tensors = (
        graph.tensor(LAYOUTS[name].kind, (experts, columns, size), b"".join(blocks for blocks, _ in parts)),
        graph.array(given),
        graph.tensor(I32, chosen.shape, chosen.tobytes()),
    )
    found = graph.compute((tokens, used, columns), threads, "ggml_mul_mat_id", *tensors)
    meant = np.array([matrix for _, matrix in parts])[chosen]  # (tokens, used, columns, size)
    near(found, (meant @ given.astype(np.float64)[..., None])[..., 0])
