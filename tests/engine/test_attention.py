"""What tuning may choose for an engine changes its speed, never what it thinks."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgechat.engine.base import Slice
from edgechat.engine.llama.engine import LlamaCpp
from edgechat.tune.divergence import compare, log_probabilities
from edgechat.tune.quality import Quality
from edgechat.types import Sampling

pytestmark = pytest.mark.model
TEXT = "The lighthouse stands where the river meets the sea, on a rock that is dry only at low water. "


@pytest.fixture
def engines(smollm2: Path) -> Iterator[tuple[LlamaCpp, LlamaCpp]]:
    """Without flash attention; with it and a short step."""
    usual = LlamaCpp(smollm2, 512, 0, 1, lambda _: None, flash=False)
    other = LlamaCpp(smollm2, 512, 0, 1, lambda _: None, ubatch=32)
    yield usual, other
    usual.close()
    other.close()


def test_next_tokens_are_the_same(engines: tuple[LlamaCpp, LlamaCpp]) -> None:
    tokens = engines[0].tokenizer.encode(TEXT * 4)[:80]
    for engine in engines:
        engine.step([Slice(0, 0, tokens[:60])])  # more than one short step
    usual, other = (engine.logits(0, 60, tokens[60:]) for engine in engines)
    quality = Quality.of(compare(log_probabilities(usual).astype(np.float16), other))
    assert quality.kld < 0.01  # a fifth of what rounding weights to four bits costs
    assert quality.same_top >= 0.9


def test_a_state_is_restored_and_the_engine_says_what_it_is(engines: tuple[LlamaCpp, LlamaCpp]) -> None:
    usual, other = engines
    assert "flash attention" not in usual.info.engine
    assert "flash attention" in other.info.engine  # states on disk are kept apart by these words
    tokens = other.tokenizer.encode(TEXT)
    other.step([Slice(0, 0, tokens)])
    assert other.restore(1, other.save(0))
    sampler = other.sampler(Sampling(temperature=0))
    drawn = other.step([Slice(seq, len(tokens), tokens[:1], sampler) for seq in (0, 1)])
    assert drawn[0] == drawn[1]
