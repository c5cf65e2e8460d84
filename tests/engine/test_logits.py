"""Bias and penalties do what llama.cpp's own samplers do, to the tokens that they concern."""

import random
from collections import Counter

import numpy as np
import pytest

from edgechat.engine.logits import bend, largest
from edgechat.types import Sampling
from tests.engine import samplers

SIZE = 50


def by_the_library(logits: list[float], sampling: Sampling, said: list[int]) -> list[float]:
    """`logits` after llama.cpp's own samplers of bias and penalties."""
    bias = (samplers.Bias * len(sampling.logit_bias))(*[samplers.Bias(*one) for one in sampling.logit_bias.items()])
    rules = (sampling.repetition_penalty, sampling.frequency_penalty, sampling.presence_penalty)
    chain = samplers.logit_bias(SIZE, len(bias), bias), samplers.penalties(SIZE, len(said) or 1, *rules)
    return [logit for _, logit in sorted(samplers.left(logits, chain, said))]


@pytest.mark.parametrize("seed", range(20))
def test_bias_and_penalties_are_the_librarys(seed: int) -> None:
    chance = random.Random(seed)
    logits = [chance.uniform(-10, 10) for _ in range(SIZE)]
    said = [chance.randrange(SIZE) for _ in range(chance.choice([0, 5, 60]))]
    sampling = Sampling(
        repetition_penalty=chance.choice([1.0, 1.1, 0.8]),
        frequency_penalty=chance.choice([0.0, 0.5, -2.0]),
        presence_penalty=chance.choice([0.0, 1.5]),
        logit_bias={chance.randrange(SIZE): chance.uniform(-100, 100) for _ in range(3)},
    )
    expected = by_the_library(logits, sampling, said)
    bend(logits, sampling, Counter(said))
    assert logits == pytest.approx(expected, rel=1e-5, abs=1e-4)


@pytest.mark.parametrize(
    ("size", "count"), [(50, 1), (50, 50), (128, 3), (1000, 7), (1000, 8), (151_936, 20), (151_936, 5000)]
)
def test_the_largest_are_found_by_their_blocks(size: int, count: int) -> None:
    dice = np.random.default_rng(size + count)
    logits = dice.permutation(size).astype(np.float32) - size / 2
    assert largest(logits, count).tolist() == np.argsort(-logits)[:count].tolist()
    logits[dice.permutation(size)[: size // 2]] = -np.inf  # held back by a guide
    assert sorted(logits[largest(logits, count)]) == sorted(np.sort(logits)[-count:])
