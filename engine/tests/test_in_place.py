"""Products with weights as they lie in a file, or interleaved (kernels/x86/products.cpp, where the processor has the
instructions).

Held against double precision, the weights being unpacked here once more, from the bytes. Activations are such that
eight bits hold them exactly.
"""

from itertools import product
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from edgechat_engine import kernels
from graph import Graph

SUPER = 256  # weights of a super-block
I32, Q4_0, Q5_0, Q8_0, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS = 26, 2, 6, 8, 11, 12, 13, 14, 20, 23  # ggml_type
OURS = [name for name in ("q5_0", "q8_0") if f"matmul-{name}" in kernels()]
TOLERANCE = 1e-6  # of the largest result, for one rounding to 24 bits each 256 weights
Bytes = NDArray[np.uint8]
Doubles = NDArray[np.float64]


class Layout(NamedTuple):
    """Where things lie in a block, or in a super-block: offsets."""

    kind: int
    size: int
    halves: tuple[int, ...]  # scales in float16
    span: int = SUPER  # weights


KQUANTS = {
    "q3_k": Layout(Q3_K, 110, (108,)),
    "q4_k": Layout(Q4_K, 144, (0, 2)),
    "q5_k": Layout(Q5_K, 176, (0, 2)),
    "q6_k": Layout(Q6_K, 210, (208,)),
    "iq4_xs": Layout(IQ4_XS, 136, (0,)),
}
SCALES = {
    "q3_k": (96, 12),
    "q4_k": (4, 12),
    "q5_k": (4, 12),
    "q6_k": (192, 16),
    "iq4_xs": (2, 6),
}  # where they lie: bytes
BLOCKS = {"q5_0": Layout(Q5_0, 22, (0,), 32), "q8_0": Layout(Q8_0, 34, (0,), 32)}
INTERLEAVED = {"q4_0": Layout(Q4_0, 18, (0,), 32), "iq4_nl": Layout(IQ4_NL, 18, (0,), 32)}
LAYOUTS = KQUANTS | BLOCKS | INTERLEAVED
UNEVEN = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113])  # IQ4_NL's sixteen


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
    """(super-blocks, SUPER) the numbers that they stand for; of blocks (blocks, 32)."""
    count = len(raw)
    meant: Doubles
    if name == "q8_0":
        meant = half(raw, 0)[:, 0] * raw[:, 2:].copy().view(np.int8)
        return meant
    if name == "q5_0":
        fifth = np.unpackbits(raw[:, 2:6], axis=1, bitorder="little")
        four = np.hstack([raw[:, 6:] & 15, raw[:, 6:] >> 4])
        meant = half(raw, 0)[:, 0] * ((four | fifth << 4) - 16.0)
        return meant
    if name in INTERLEAVED:
        four = np.hstack([raw[:, 2:] & 15, raw[:, 2:] >> 4])
        meant = half(raw, 0)[:, 0] * (four - 8.0 if name == "q4_0" else UNEVEN[four])
        return meant
    if name == "iq4_xs":
        twos = raw[:, 2:4].copy().view(np.uint16) >> np.arange(0, 16, 2, dtype=np.uint16) & 3
        scales = (np.stack([raw[:, 4:8] & 15, raw[:, 4:8] >> 4], axis=2).reshape(count, 8) | twos << 4) - 32.0
        four = raw[:, 8:].reshape(count, 8, 16)
        meant = half(raw, 0) * scales[:, :, None] * UNEVEN[np.concatenate([four & 15, four >> 4], axis=2)]
        return meant.reshape(count, SUPER)
    if name == "q3_k":
        first, second, third = raw[:, 96:100], raw[:, 100:104], raw[:, 104:108]
        four = np.hstack([first & 15, second & 15, first >> 4, second >> 4])
        scales = (four | np.hstack([third >> shift & 3 for shift in (0, 2, 4, 6)]) << 4) - 32.0
        two = np.concatenate([raw[:, 32:96].reshape(count, 2, 1, 32) >> shift & 3 for shift in (0, 2, 4, 6)], axis=2)
        bit = raw[:, None, :32] >> np.arange(8, dtype=np.uint8)[:, None] & 1
        numbers = (two.reshape(count, 8, 32) | bit << 2).reshape(count, 16, 16) - 4.0
        meant = half(raw, 108) * scales[:, :, None] * numbers
        return meant.reshape(count, SUPER)
    if name == "q6_k":
        low, high = raw[:, :128].reshape(count, 2, 2, 32), raw[:, 128:192].reshape(count, 2, 1, 32)
        lower = np.concatenate([low & 15, low >> 4], axis=2)
        upper = np.concatenate([high >> shift & 3 for shift in (0, 2, 4, 6)], axis=2)
        numbers = (lower | upper << 4).reshape(count, 16, 16) - 32.0
        meant = half(raw, 208) * raw[:, 192:208].copy().view(np.int8)[:, :, None] * numbers
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
    layout = LAYOUTS[name]
    count = columns * size // layout.span
    raw = dice.integers(0, 256, (count, layout.size), dtype=np.uint8)
    raw[::3] = dice.choice(np.array([0x00, 0x7F, 0x80, 0xFF], dtype=np.uint8), raw[::3].shape)
    for at in layout.halves:
        scales = dice.uniform(-0.01, 0.01, count).astype(np.float16)
        scales[::5] = dice.choice(np.array([0, 6e-8, -6e-8, 6e-5], dtype=np.float16), scales[::5].shape)  # denormals
        raw[:, at : at + 2] = scales[:, None].view(np.uint8)
    return raw.tobytes(), unpacked(name, raw).reshape(columns, size)


def activations(dice: np.random.Generator, rows: int, size: int, every: int = SUPER) -> NDArray[np.float32]:
    """(rows, size): in each super-block whole numbers times a power of two, the largest of `every` so many being 127.

    Every third row has nothing but 127 and its opposite, so that sums are as large as they can be.
    """
    some = min(size, SUPER)
    numbers = dice.integers(-127, 128, (rows, -(-size // some), some))
    numbers[::3] = np.where(numbers[::3] % 8, 127, -127)
    numbers[:, :, 7::every] = 127
    most = 20 if every == SUPER else 12  # ggml keeps a block's scale in float16
    scales = np.exp2(dice.integers(-most, most, (rows, numbers.shape[1], 1)))
    scales[dice.random(scales.shape) < 0.1] = 0
    return (numbers * scales).reshape(rows, -1)[:, :size].astype(np.float32)


def laid(graph: Graph, name: str, shape: tuple[int, ...], blocks: bytes) -> int:
    """The tensor of weights, where the library would lay it."""
    make = graph.interleaved if name in INTERLEAVED and "matmul-q4_0" in kernels() else graph.tensor
    return make(LAYOUTS[name].kind, shape, blocks)


def computed(
    name: str, blocks: bytes, shape: tuple[int, int], given: NDArray[np.float32], threads: int
) -> NDArray[np.float32]:
    graph = Graph()
    tensors = laid(graph, name, shape, blocks), graph.array(given)
    return graph.compute((len(given), shape[0]), threads, "ggml_mul_mat", *tensors)


def near(name: str, found: NDArray[np.float32], expected: Doubles) -> None:
    """Row by row: each has a scale of its own."""
    largest = np.abs(expected).max(axis=-1, keepdims=True)
    assert np.all(np.abs(found - expected) <= TOLERANCE * SUPER / LAYOUTS[name].span * largest)


SIZES = [*product(KQUANTS, (256, 1280, 2304)), *product(BLOCKS, (32, 576, 2080)), *product(INTERLEAVED, (32, 2080))]


@pytest.mark.parametrize(("name", "size"), SIZES)
@pytest.mark.parametrize("columns", [3, 8, 17, 40])
@pytest.mark.parametrize("rows", [1, 2, 7, 16, 17, 40])
@pytest.mark.parametrize("threads", [1, 3])
def test_they_are_the_sums(name: str, size: int, columns: int, rows: int, threads: int) -> None:
    if name in INTERLEAVED:
        columns = -(-columns // 8) * 8
    dice = np.random.default_rng(size + columns + rows)
    blocks, meant = weights(dice, name, columns, size)
    given = activations(dice, rows, size, LAYOUTS[name].span)
    near(name, computed(name, blocks, (columns, size), given, threads), given.astype(np.float64) @ meant.T)


@pytest.mark.parametrize("name", KQUANTS)
@pytest.mark.parametrize("group", range(8))
def test_every_scale_and_every_min(name: str, group: int) -> None:
    """Each byte of the scales takes every value, each in a column of its own; one group alone has activations."""
    dice, columns = np.random.default_rng(group), 256
    blocks, _ = weights(dice, name, columns, SUPER)
    raw = np.frombuffer(blocks, dtype=np.uint8).reshape(columns, -1).copy()
    start, count = SCALES[name]
    raw[:, start : start + count] = np.arange(256)[:, None] + np.arange(count)[None] * 37
    for at in LAYOUTS[name].halves:
        raw[:, at : at + 2] = np.full((columns, 1), 0.01, dtype=np.float16).view(np.uint8)
    given = np.zeros((2, SUPER), dtype=np.float32)
    given[:, 32 * group : 32 * group + 32] = activations(dice, 2, SUPER)[:, :32]
    near(
        name,
        computed(name, raw.tobytes(), (columns, SUPER), given, 1),
        given.astype(np.float64) @ unpacked(name, raw).T,
    )


@pytest.mark.parametrize("name, rows", [*product(("q4_k", *OURS), (1, 6))])
def test_numbers_that_are_none_stay_seen(name: str, rows: int) -> None:
    dice = np.random.default_rng(rows)
    blocks, meant = weights(dice, name, 16, 512)
    given = activations(dice, rows, 512, LAYOUTS[name].span)
    given[0, 300] = np.nan
    found = computed(name, blocks, (16, 512), given, 1)
    assert np.all(np.isnan(found[0]))
    near(name, found[1:], given[1:].astype(np.float64) @ meant.T)


@pytest.mark.parametrize("scale", [1e-38, 1e-44, 0.0])
@pytest.mark.parametrize("name, rows", [*product(("q6_k", *OURS), (1, 6))])
def test_activations_too_small_for_a_scale_give_next_to_nothing(scale: float, name: str, rows: int) -> None:
    dice = np.random.default_rng(rows)
    blocks, _ = weights(dice, name, 16, 512)
    given = np.full((rows, 512), scale, dtype=np.float32)
    assert np.abs(computed(name, blocks, (16, 512), given, 1)).max() <= 512 * 64 * 2 * scale


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
    given = activations(dice, tokens * (used if own else 1), size, LAYOUTS[name].span).reshape(tokens, -1, size)
    graph = Graph()
    tensors = (
        laid(graph, name, (experts, columns, size), b"".join(blocks for blocks, _ in parts)),
        graph.array(given),
        graph.tensor(I32, chosen.shape, chosen.tobytes()),
    )
    found = graph.compute((tokens, used, columns), threads, "ggml_mul_mat_id", *tensors)
    meant = np.array([matrix for _, matrix in parts])[chosen]  # (tokens, used, columns, size)
    near(name, found, (meant @ given.astype(np.float64)[..., None])[..., 0])
