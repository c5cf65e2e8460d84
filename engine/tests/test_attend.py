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
from graph import Graph

Array = NDArray[np.float32]
SCALE = 0.2
GGML = 1e-2  # how far off ggml may be: it adds up values in half precision
TOLERANCE = 1e-4 if "attention" in possible(flags()) else GGML
SHAPES = [(14, 2, 64), (3, 3, 64), (6, 1, 128), (2, 2, 80)]  # query heads, heads of keys, numbers of a key


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


def ggml(given: Case, threads: int, softcap: float = 0.0) -> Array:
    """(tokens, heads, depth) as the engine's library computes it."""
    graph = Graph()
    queries = graph.array(given.queries.transpose(1, 0, 2))
    others = (graph.array(array) for array in (given.keys, given.values, given.mask))
    return graph.compute(given.queries.shape, threads, "ggml_flash_attn_ext", queries, *others, SCALE, 0.0, softcap)


def formula(given: Case, softcap: float = 0) -> NDArray[np.float64]:
    """softmax(scale q k + mask) v, for each head with the keys that its group shares."""
    shared = given.queries.shape[1] // given.keys.shape[0]
    keys, values = (np.repeat(array.astype(np.float64), shared, axis=0) for array in (given.keys, given.values))
    scores = np.einsum("thd,hcd->thc", given.queries.astype(np.float64), keys) * SCALE
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
        pytest.param(gaps(128, (0, 10), (54, 64)), id="few cells that span exactly a tile"),
        pytest.param(gaps(300, (0, 64), (100, 103), (150, 164)), id="the last cells span exactly a tile"),
    ],
)
def test_it_is_the_formula(shape: tuple[int, int, int], threads: int, seen: NDArray[np.bool_]) -> None:
    given = case(shape, seen)
    np.testing.assert_allclose(ggml(given, threads), formula(given), rtol=0, atol=TOLERANCE)


def test_scores_that_grow_and_shrink_by_hundreds_do_not_overflow() -> None:
    given = case((4, 2, 64), np.tri(2, 500, 480, dtype=bool))
    given.keys[:, 100:200] *= 40
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
