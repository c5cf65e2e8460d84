"""Attention as this processor computes it (kernels/x86/attention.cpp, where it has the instructions).

Held against the formula in double precision, over what a server does to a cache: conversations beside each other in
one buffer, several tokens of each at once, cells that are empty or another's.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from edgechat_engine import possible
from edgechat_engine.needs import flags
from graph import Q8_0, Graph

Array = NDArray[np.float32]
SCALE = 0.1
GGML = 1e-2  # how far off ggml may be: it adds up values in half precision
OURS = "attention" in possible(flags())
TOLERANCE = 1e-4 if OURS else GGML  # of a lone token whose keys are shared by few heads
ROUNDED, ROUNDED_MEAN = (
    (5e-3, 3e-4) if OURS else (GGML, GGML)
)  # of others, in 16 bits: the worst, the root of the mean square
SHAPES = [(14, 2, 64), (3, 3, 64), (6, 1, 128), (2, 2, 80), (4, 2, 96), (8, 1, 256), (20, 1, 64)]
# query heads, heads of keys, numbers of a key


@dataclass
class Case:
    """Queries (tokens, heads, depth), keys and values (heads, cells, depth), and which cell each token sees."""

    queries: Array
    keys: NDArray[np.float16]
    values: NDArray[np.float16]
    seen: NDArray[np.bool_]

    @property
    def mask(self) -> NDArray[np.float16]:
        return np.where(self.seen, 0, -np.inf).astype(np.float16)


def case(shape: tuple[int, int, int], seen: NDArray[np.bool_], seed: int = 1) -> Case:
    heads, groups, depth = shape
    dice = np.random.default_rng(seed)
    tokens, cells = seen.shape
    keys, values = dice.normal(size=(2, groups, cells, depth)).astype(np.float16)
    return Case(dice.normal(size=(tokens, heads, depth)).astype(np.float32), keys, values, seen)


def conversations(tokens: int, of: int, cells: int) -> NDArray[np.bool_]:
    """`of` conversations whose cells alternate; the tokens are the last ones of each, in turns of up to five."""
    owner = np.arange(cells) // 3 % of
    owner[cells * 9 // 10 :] = -1  # nobody's yet
    mine = [np.flatnonzero(owner == one) for one in range(of)]
    seen = np.zeros((tokens, cells), dtype=bool)
    for token in range(tokens):
        one = token // 5 % of
        seen[token, mine[one][: max(1, len(mine[one]) - tokens + token)]] = True
    return seen


def ggml(given: Case, threads: int, softcap: float = 0.0, eight: bool = False, scale: float = SCALE) -> Array:
    """(tokens, heads, depth) as the engine's library computes it, of cells in float16 or in `eight` bits."""
    graph = Graph()
    queries = graph.array(given.queries.transpose(1, 0, 2))
    cells = (
        graph.tensor(Q8_0, array.shape, q8_0(array)) if eight else graph.array(array)
        for array in (given.keys, given.values)
    )
    mask = graph.array(given.mask)
    return graph.compute(
        given.queries.shape, threads, "ggml_flash_attn_ext", queries, *cells, mask, scale, 0.0, softcap
    )


def q8_0(array: NDArray[np.float16]) -> bytes:
    """Blocks of 32 whole numbers with a scale, as ggml has them; `array` becomes what they say."""
    blocks = array.reshape(-1, 32)
    scales = (np.abs(blocks).max(axis=1, keepdims=True) / 127).astype(np.float16)
    whole = np.rint(blocks.astype(np.float32) / scales).astype(np.int8)
    array[:] = (scales.astype(np.float32) * whole).reshape(array.shape).astype(np.float16)
    return b"".join(scale.tobytes() + block.tobytes() for scale, block in zip(scales, whole, strict=True))


def hold(found: Array, wanted: NDArray[np.float64], few: bool) -> None:
    """Fail where `found` is farther from the formula than it may be."""
    if few:
        np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=ROUNDED)
    assert np.sqrt(np.mean((found - wanted) ** 2)) < ROUNDED_MEAN


def formula(given: Case, softcap: float = 0, scale: float = SCALE) -> NDArray[np.float64]:
    """softmax(scale q k + mask) v, for each head with the keys that its group shares."""
    shared = given.queries.shape[1] // given.keys.shape[0]
    keys, values = (np.repeat(array.astype(np.float64), shared, axis=0) for array in (given.keys, given.values))
    scores = np.einsum("thd,hcd->thc", given.queries.astype(np.float64), keys) * scale
    scores = softcap * np.tanh(scores / softcap) if softcap else scores
    weights = np.exp(scores) * given.seen[:, None, :]
    result: NDArray[np.float64] = np.einsum("thc,hcd->thd", weights / weights.sum(axis=2, keepdims=True), values)
    return result


def gaps(cells: int, *runs: tuple[int, int]) -> NDArray[np.bool_]:
    """One token, which sees the `runs` of cells, from one to another."""
    seen = np.zeros((1, cells), dtype=bool)
    for begin, end in runs:
        seen[0, begin:end] = True
    return seen


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(np.ones((1, 1), dtype=bool), id="first token"),
        pytest.param(np.tri(1, 700, 650, dtype=bool), id="one token of a long conversation"),
        pytest.param(np.tri(3, 40, 30, dtype=bool), id="three tokens"),
        pytest.param(np.tri(128, 384, 200, dtype=bool), id="a slice of a prompt"),
        pytest.param(conversations(8, 8, 256), id="two conversations in turns"),
        pytest.param(conversations(17, 4, 300), id="four conversations, several tokens each"),
        pytest.param(np.tri(60, 300, 240, dtype=bool) & ~np.tri(60, 300, 190, dtype=bool), id="a window that slides"),
        pytest.param(np.tri(1, 3000, 2950, dtype=bool), id="cut by cells"),
        pytest.param(np.tri(1, 8100, 8050, dtype=bool), id="cut into longer pieces"),
        pytest.param(gaps(128, (0, 10), (54, 64)), id="few cells that span exactly a tile"),
        pytest.param(gaps(300, (0, 64), (100, 103), (150, 164)), id="the last cells span exactly a tile"),
    ],
)
def test_it_is_the_formula(shape: tuple[int, int, int], threads: int, seen: NDArray[np.bool_]) -> None:
    given = case(shape, seen)
    hold(ggml(given, threads), formula(given), few=len(seen) == 1 and shape[0] // shape[1] <= 16)


@pytest.mark.parametrize("shape", [(14, 2, 64), (4, 2, 96), (8, 1, 256)], ids=str)
@pytest.mark.parametrize("tokens", [1, 40])
def test_cells_in_eight_bits(shape: tuple[int, int, int], tokens: int) -> None:
    given = case(shape, np.tri(tokens, 700, 650, dtype=bool))
    found = ggml(given, 2, eight=True)
    wanted = formula(given)  # of what the eight bits say, once more rounded to float16
    np.testing.assert_allclose(found, wanted, rtol=0, atol=GGML)
    assert np.sqrt(np.mean((found - wanted) ** 2)) < GGML / 10


@pytest.mark.skipif(not OURS, reason="this processor leaves it to ggml")
def test_what_is_computed_beside_a_token_changes_no_bit() -> None:
    """As many threads as there may be, a prompt in slices, an answer alone or beside others."""
    whole = case((14, 2, 64), np.tri(130, 3300, 3100, dtype=bool))
    found = ggml(whole, 1)
    assert np.array_equal(found, ggml(whole, 3))
    for first, last in ((0, 15), (15, 17), (17, 130)):
        part = Case(whole.queries[first:last], whole.keys, whole.values, whole.seen[first:last])
        assert np.array_equal(found[first:last], ggml(part, 2))
    readers = case((14, 2, 64), conversations(4, 4, 3000)[[0]])
    readers.seen = np.arange(3000) // 3 % 6 == np.arange(6)[:, None]
    readers.queries = np.random.default_rng(2).normal(size=(6, 14, 64)).astype(np.float32)
    beside = ggml(readers, 2)
    for one in range(6):
        alone = Case(readers.queries[[one]], readers.keys, readers.values, readers.seen[[one]])
        assert np.array_equal(beside[[one]], ggml(alone, 1))
        assert np.array_equal(beside[[one]], ggml(alone, 3))


@pytest.mark.parametrize("tokens", [1, 40])
def test_lengths_that_are_not_divided_out(tokens: int) -> None:
    given = case((4, 2, 64), np.tri(tokens, 700, 650, dtype=bool))
    np.testing.assert_allclose(ggml(given, 2, scale=1.0), formula(given, scale=1.0), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("tokens", [1, 20])
@pytest.mark.parametrize("which", ["keys", "values"])
def test_what_is_no_number_stays_none_and_hidden_it_is_nothing(which: str, tokens: int) -> None:
    given = case((14, 2, 64), np.tri(tokens, 300, 200, dtype=bool))
    getattr(given, which)[0, 260] = np.nan  # a cell that no token sees
    assert np.isfinite(ggml(given, 2)).all()
    getattr(given, which)[0, 100] = np.nan
    assert np.isnan(ggml(given, 2)[:, :7]).all()


def test_scores_that_grow_and_shrink_by_hundreds_do_not_overflow() -> None:
    given = case((4, 2, 64), np.tri(2, 500, 480, dtype=bool))
    given.keys[:, 100:200] *= 80
    found = ggml(given, 2)
    assert np.isfinite(found).all()
    # The formula itself overflows here: the largest score of each head takes all.
    scores = np.einsum("thd,hcd->thc", given.queries, np.repeat(given.keys.astype(np.float32), 2, axis=0))
    best = np.argmax(np.where(given.seen[:, None, :], scores, -np.inf), axis=2)
    taken = np.stack([np.repeat(given.values, 2, axis=0)[np.arange(4), row] for row in best])
    assert np.mean(np.abs(found - taken).max(axis=2) < 0.05) > 0.8


def test_a_token_that_sees_nothing_gets_nothing() -> None:
    seen = np.tri(5, 100, 90, dtype=bool)
    seen[3] = False
    found = ggml(case((14, 2, 64), seen), 2)
    assert not found[3].any()
    assert found[[0, 1, 2, 4]].any(axis=(1, 2)).all()


def test_what_is_left_to_ggml_is_right_too() -> None:
    given = case((4, 2, 64), np.tri(4, 90, 60, dtype=bool))
    np.testing.assert_allclose(ggml(given, 2, softcap=5.0), formula(given, softcap=5.0), rtol=0, atol=GGML)
