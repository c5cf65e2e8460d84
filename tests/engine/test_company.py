"""What company does to the numbers: the same tokens forced through llama.cpp alone and beside others' prompts.

Batching changes the order of additions; rounding activations to 8 bits makes a visible difference of the invisible one.
Stated here: the opinion on the next token moves by less than TOLERANCE (mean Kullback-Leibler divergence), and far less
than by a single foreign token in the sequence.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgechat.engine.base import Slice
from edgechat.types import Sampling

TOLERANCE = 0.01  # nats; seen with SmolLM2-135M in Q8_0 on AVX2: 0.002
TEXT = "Once upon a time, there was a little girl who lived by the sea. Every morning she counted boats: 一, 二, 三."


@pytest.fixture
def engine(smollm2: Path) -> Iterator[Any]:
    from edgechat.engine.llama.engine import LlamaCpp

    engine = LlamaCpp(smollm2, 1024, 0, 1, lambda _: None)
    yield engine
    engine.close()


def logprobs(engine: Any) -> NDArray[np.float32]:
    """Of the token after row 0 of the last step, whatever came behind it in the batch."""
    from edgechat_engine import lib

    logits = np.ctypeslib.as_array(lib.llama_get_logits_ith(engine._context, 0), shape=(engine.info.vocabulary,))
    top = logits.max()
    opinion: NDArray[np.float32] = logits - (top + np.log(np.exp(logits - top).sum()))
    return opinion


def divergence(one: list[NDArray[np.float32]], other: list[NDArray[np.float32]]) -> float:
    """Mean over the positions, in nats."""
    return float(np.mean([(np.exp(a) * (a - b)).sum() for a, b in zip(one, other, strict=True)]))


def forced(engine: Any, tokens: list[int], beside: int) -> list[NDArray[np.float32]]:
    """The model's opinion after each of `tokens`, fed one by one, with `beside` tokens of a stranger in every step."""
    dice, opinions = random.Random(1), []
    sampler = engine.sampler(Sampling(temperature=0))
    for at, token in enumerate(tokens):
        parts = [Slice(0, at, [token], sampler)]
        if beside:
            parts.append(Slice(1, at * beside, [dice.randrange(1000, 9000) for _ in range(beside)]))
        engine.step(parts)
        opinions.append(logprobs(engine))
    engine.trim(0)
    engine.trim(1)
    return opinions


@pytest.mark.model
def test_company_leaves_an_answer_what_it_is(engine: Any) -> None:
    tokens = engine.tokenizer.encode(TEXT)
    alone = forced(engine, tokens, 0)
    assert divergence(alone, forced(engine, tokens, 0)) == 0
    for beside in (1, 7, 16):
        moved = divergence(alone, forced(engine, tokens, beside))
        print(f"beside {beside}: {moved:.4f} nats, mean of {len(tokens)} tokens")
        assert 0 <= moved < TOLERANCE
    foreign = [tokens[0], 5000, *tokens[2:]]
    assert divergence(alone[2:], forced(engine, foreign, 0)[2:]) > 10 * TOLERANCE
