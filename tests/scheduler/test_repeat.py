"""Answers caught in a loop."""

import random

import pytest

from edgechat.scheduler.repeat import LONG, repeats


@pytest.mark.parametrize("period", [1, 2, 7, 40, 200])
def test_a_loop_is_caught(period: int) -> None:
    dice = random.Random(period)
    lead = [dice.randrange(1000) for _ in range(100)]
    piece = [dice.randrange(1000) for _ in range(period)]
    assert repeats(lead + piece * (1 + max(LONG, 4 * period) // period))


def test_ordinary_text_is_not() -> None:
    dice = random.Random(1)
    words = [dice.randrange(50) for _ in range(3000)]
    assert not any(repeats(words[:end]) for end in range(0, 3000, 100))


def test_a_list_or_a_ruler_is_not() -> None:
    numbered = [token for line in range(200) for token in (7, 8, 9, 10 + line, 3)]
    assert not repeats(numbered)
    assert not repeats([5] * (LONG - 1))
    assert not repeats([])
