"""Divergence, against NumPy in 64 bits on the whole vocabulary of a Qwen."""

import numpy as np
import pytest
from numpy.typing import NDArray

from edgechat.tune.divergence import Floats, compare, log_probabilities
from edgechat.tune.quality import Quality, Row

VOCABULARY = 151_936
Doubles = NDArray[np.float64]


def reference(p_logits: Floats, q_logits: Floats) -> Doubles:
    def softmax(x: Floats) -> Doubles:
        e = np.exp(x.astype(np.float64) - x.max(axis=1, keepdims=True))
        shares: Doubles = e / e.sum(axis=1, keepdims=True)
        return shares

    p, q = softmax(p_logits), softmax(q_logits)
    found: Doubles = (p * (np.log(p) - np.log(q))).sum(axis=1)
    return found


@pytest.mark.parametrize("spread", [1.0, 3.0, 8.0])
@pytest.mark.parametrize("noise", [0.05, 0.5])
def test_it_is_the_kl_divergence(spread: float, noise: float) -> None:
    rng = np.random.default_rng(1)
    p = (rng.standard_normal((4, VOCABULARY)) * spread).astype(np.float32)
    q = (p + rng.standard_normal((4, VOCABULARY)) * noise).astype(np.float32)
    rows = compare(log_probabilities(p).astype(np.float16), q)
    assert [row.kld for row in rows] == pytest.approx(reference(p, q), rel=0.02, abs=5e-4)
    assert [row.same for row in rows] == list(p.argmax(axis=1) == q.argmax(axis=1))


def test_a_model_does_not_diverge_from_itself() -> None:
    p = np.random.default_rng(2).standard_normal((3, VOCABULARY)).astype(np.float32) * 5
    rows = compare(log_probabilities(p).astype(np.float16), p)
    assert all(row.same and row.kld < 5e-4 for row in rows)


def test_log_probabilities_add_up_to_one_whatever_the_scale() -> None:
    logits = np.array([[1000.0, 999.0, -1000.0], [0.0, 0.0, 0.0]], dtype=np.float32)
    assert np.exp(log_probabilities(logits)).sum(axis=1) == pytest.approx([1.0, 1.0])


def test_the_summary_tells_how_sure_it_is() -> None:
    few = Quality.of([Row(0.05, True), Row(0.09, False)])
    assert few.kld == pytest.approx(0.07)
    assert (few.same_top, few.rows) == (0.5, 2)
    assert not few.within(0.06)
    assert not few.hopeless(0.06)  # two rows prove nothing
    assert Quality.of([Row(0.07, True), Row(0.0701, True)] * 50).hopeless(0.06)
    assert Quality.of([Row(0.0, True)]).within(0.0)
