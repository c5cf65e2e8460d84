"""Repetition: small models fall into loops, the same words again and again until the limit. Pure.

An answer is caught when its end consists of one and the same piece, at least TIMES over and at least LONG tokens.
"""

from collections.abc import Sequence

LONG = 192  # tokens
TIMES = 4
LOOK = 16  # tokens between two looks
WINDOW = 1024  # tokens looked at


def repeats(said: Sequence[int]) -> bool:
    """Whether `said` ends in a loop."""
    tail = said[: -WINDOW - 1 : -1]  # newest first
    return any(period + same >= max(LONG, TIMES * period) for period, same in enumerate(_same(tail)) if period)


def _same(text: Sequence[int]) -> list[int]:
    """For each place, how many items from there equal those from the start: the Z function, linear."""
    same = [0] * len(text)
    left = right = 0
    for at in range(1, len(text)):
        length = min(right - at, same[at - left]) if at < right else 0
        while at + length < len(text) and text[length] == text[at + length]:
            length += 1
        same[at] = length
        if at + length > right:
            left, right = at, at + length
    return same
