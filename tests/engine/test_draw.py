"""Drawing from logits in Python's memory leaves the tokens that llama.cpp's own samplers leave."""

import math
from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from edgechat.engine.draw import Draw, likeliest
from edgechat.engine.fake import Bytes
from edgechat.types import Sampling
from tests.engine import samplers

Floats = NDArray[np.float32]
SIZE = Bytes.size
TOKENIZER = Bytes()


def logits(seed: int) -> Floats:
    return np.random.default_rng(seed).normal(0, 3, SIZE).astype(np.float32)


def by_the_library(row: Floats, sampling: Sampling) -> list[int]:
    """The tokens that llama.cpp's top k, top p and min p leave, the likeliest first."""
    chain = samplers.top_k(sampling.top_k), samplers.top_p(sampling.top_p, 1), samplers.min_p(sampling.min_p, 1)
    kept = sorted((logit, token) for token, logit in samplers.left(row.tolist(), chain))
    return [token for _, token in reversed(kept)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(top_k=40, top_p=1),
        Sampling(top_k=0, top_p=0.8),
        Sampling(top_k=0, top_p=1, min_p=0.1),
        Sampling(top_k=20, top_p=0.9, min_p=0.05),
        Sampling(top_k=5000, top_p=0.999),
        Sampling(top_k=1),
        Sampling(top_k=0, top_p=1e-6),
    ],
)
def test_the_tokens_that_are_left_are_the_librarys(sampling: Sampling, seed: int) -> None:
    row = logits(seed)
    left = likeliest(row, sampling)
    assert left is not None
    assert left.tolist() == by_the_library(row, sampling)


def draw(sampling: Sampling, guide: "Only | None" = None, top: int | None = None) -> Draw:
    return Draw(sampling, TOKENIZER, guide, top)


def test_temperature_zero_takes_the_likeliest() -> None:
    row = logits(1)
    assert draw(Sampling(temperature=0)).draw(row.copy()) == int(row.argmax())


def test_a_seed_repeats_the_draws_and_another_does_not() -> None:
    def drawn(seed: int) -> list[int]:
        sampler = draw(Sampling(temperature=1.5, top_p=1, top_k=0, seed=seed))
        return [sampler.draw(logits(1)) for _ in range(20)]

    assert drawn(7) == drawn(7) != drawn(8)


def test_tokens_come_as_often_as_their_logits_say() -> None:
    row = np.full(SIZE, -np.inf, np.float32)
    row[:3] = np.log([0.7, 0.2, 0.1])
    sampler = draw(Sampling(temperature=0.5, top_p=1, top_k=0, seed=3))
    count = Counter(sampler.draw(row.copy()) for _ in range(4000))
    assert [count[token] / 4000 for token in range(3)] == pytest.approx(
        [0.49 / 0.54, 0.04 / 0.54, 0.01 / 0.54], abs=0.02
    )


def test_what_was_said_is_penalised_and_bias_counts() -> None:
    row = np.zeros(SIZE, np.float32)
    row[4] = 1
    sampler = draw(Sampling(temperature=0, presence_penalty=2, logit_bias={9: 0.5, SIZE + 10_000_000: 100}))
    assert [sampler.draw(row.copy()) for _ in range(2)] == [4, 9]


class Only:
    """A guide that allows one token after the other."""

    def __init__(self, *tokens: int) -> None:
        self.left = list(tokens)

    def mask(self) -> bytes:
        bits = np.zeros(320, np.uint8)
        bits[self.left[0]] = 1
        return np.packbits(bits, bitorder="little").tobytes()

    def accept(self, token: int) -> None:
        assert token == self.left.pop(0)


@pytest.mark.parametrize("temperature", [0, 0.7])
def test_a_guide_is_followed(temperature: float) -> None:
    sampler = draw(Sampling(temperature=temperature), Only(8, 258, 0))
    assert [sampler.draw(logits(n)) for n in range(3)] == [8, 258, 0]


def test_scores_are_the_models_own() -> None:
    row = logits(2)
    sampler = draw(Sampling(temperature=0, logit_bias={5: 100}), top=2)
    assert sampler.draw(row.copy()) == 5
    assert sampler.scored is not None
    total = math.log(np.exp(row.astype(np.float64)).sum())
    assert sampler.scored.logprob == pytest.approx(float(row[5]) - total, abs=1e-4)
    assert [one.token for one in sampler.scored.top] == np.argsort(-row)[:2].tolist()


def test_where_nothing_is_cut_all_are_left() -> None:
    assert likeliest(logits(1), Sampling(top_k=0, top_p=1)) is None


@pytest.mark.parametrize("width", [0.0, 30.0, 3000.0])
def test_top_p_is_found_in_flat_and_in_steep_logits_and_beside_what_is_forbidden(width: float) -> None:
    row = np.linspace(0, -width, SIZE, dtype=np.float32)
    row[1::2] = -np.inf
    sampling = Sampling(top_k=0, top_p=0.99)
    left = likeliest(row, sampling)
    assert left is not None
    assert left.tolist() == list(range(0, 2 * len(left), 2))
    shares = np.exp(row[::2].astype(np.float64))
    assert shares[: len(left)].sum() >= 0.99 * shares.sum() * (1 - 1e-9) > shares[: len(left) - 1].sum()
