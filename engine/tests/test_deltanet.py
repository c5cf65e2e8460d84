"""The gated delta rule and its convolution (kernels/x86/deltanet.cpp) against the formulas in double precision."""

import numpy as np
import pytest
from numpy.typing import NDArray

from edgechat_engine.library import function
from graph import POINTER, Graph

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
TOLERANCE = 2e-5  # of the largest result: what float32 loses over so many tokens


def numbers(dice: np.random.Generator, *shape: int) -> Floats:
    return dice.standard_normal(shape, dtype=np.float32)


def near(found: Floats, expected: Doubles) -> None:
    assert found.shape == expected.shape
    assert np.all(np.abs(found - expected) <= TOLERANCE * np.abs(expected).max())


def rule(q: Floats, k: Floats, v: Floats, gate: Floats, beta: Floats, state: Floats) -> tuple[Doubles, list[Doubles]]:
    """(what is read, the states after each token): of (sequences, tokens, heads, size), states as ggml has them."""
    read, states, now = np.zeros(v.shape), [], state.astype(np.float64)  # (sequences, heads, values, keys)
    heads = v.shape[2]
    for t in range(v.shape[1]):
        key, query = (np.tile(x[:, t], (1, heads // x.shape[2], 1)).astype(np.float64) for x in (k, q))
        now = now * np.exp(gate[:, t].astype(np.float64))[..., None]
        off = (v[:, t] - (now @ key[..., None])[..., 0]) * beta[:, t]
        now = now + off[..., None] * key[:, :, None]
        read[:, t] = (now @ query[..., None])[..., 0] / np.sqrt(v.shape[3])
        states.append(now)
    return read, states


@pytest.mark.parametrize("size", [64, 128, 32])
@pytest.mark.parametrize("tokens, keep", [(1, 1), (2, 3), (31, 1), (32, 2), (65, 40)])
@pytest.mark.parametrize("sequences, heads, shared", [(1, 2, 2), (3, 4, 2)])
@pytest.mark.parametrize("threads", [1, 3])
def test_the_rule(size: int, tokens: int, keep: int, sequences: int, heads: int, shared: int, threads: int) -> None:
    dice = np.random.default_rng(size + tokens + sequences)
    q, k = (numbers(dice, sequences, tokens, shared, size) for _ in range(2))
    q, k = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (q, k))
    v = numbers(dice, sequences, tokens, heads, size)
    gate = -np.exp(4 * numbers(dice, sequences, tokens, heads, 1) - 4).astype(np.float32)
    beta = (1 / (1 + np.exp(numbers(dice, sequences, tokens, heads, 1)))).astype(np.float32)
    state = numbers(dice, sequences, heads, size, size)
    graph = Graph()
    rows = tokens * sequences + keep * size * sequences
    given = [graph.array(x) for x in (q, k, v, gate, beta, state)]
    found = graph.compute((rows, heads * size), threads, "ggml_gated_delta_net", *given, keep)
    read, states = rule(q, k, v, gate, beta, state)
    near(found[: tokens * sequences].reshape(v.shape), read)
    slots = found[tokens * sequences :].reshape(keep, *state.shape)
    for back in range(min(keep, tokens)):
        near(slots[back], states[-1 - back])


@pytest.mark.parametrize("wide", [4, 3])
@pytest.mark.parametrize("channels", [5, 16, 49])
@pytest.mark.parametrize("tokens", [1, 64, 70])
@pytest.mark.parametrize("sequences", [1, 3])
@pytest.mark.parametrize("threads", [1, 3])
def test_the_convolution(wide: int, channels: int, tokens: int, sequences: int, threads: int) -> None:
    dice = np.random.default_rng(channels + tokens)
    x, by = numbers(dice, sequences, channels, wide - 1 + tokens), numbers(dice, channels, wide)
    graph = Graph()
    found = graph.compute((sequences, tokens, channels), threads, "ggml_ssm_conv", graph.array(x), graph.array(by))
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), wide, axis=2)
    near(found, np.einsum("sctw,cw->stc", windows, by.astype(np.float64)))


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("rows", [1, 16, 49, 130])
@pytest.mark.parametrize("length", [1, 70])
@pytest.mark.parametrize("sequences", [1, 3])
@pytest.mark.parametrize("threads", [1, 3])
def test_rows_that_are_joined(across: bool, rows: int, length: int, sequences: int, threads: int) -> None:
    """The other tensor's rows may lie across, as a convolution's new tokens do."""
    dice = np.random.default_rng(rows + length)
    one, two = numbers(dice, sequences, rows, 3), numbers(dice, sequences, rows, length)
    graph = Graph()
    second = graph.array(np.ascontiguousarray(two.swapaxes(1, 2)) if across else two)
    if across:
        second = function("ggml_transpose", *[POINTER] * 3)(graph._room(0), second)
    found = graph.compute((sequences, rows, 3 + length), threads, "ggml_concat", graph.array(one), second, 0)
    assert np.array_equal(found, np.concatenate([one, two], axis=2))
