"""Checkpoints: where copies of a running state are taken, so that other conversations can branch off there. Pure.

A model with recurrent layers keeps one state per sequence, that of its end; what was read cannot be taken out of it
again. So while a prompt is read, the reading pauses where the next request will likely part from this one, and a copy
of the state is kept for that place of the radix tree (prefixes.py):

    system and tools │ user │ assistant │ user ─┬─ a document, page by page ─┬──── its question │ asked
                     ▲      ▲           ▲       ▲  ▲  ▲  ▲  ▲  ▲  ▲  ▲       ▲                  ▲
                     turns: the next conversation, an edit          another question, the next turn or try

A copy takes as much memory as thousands of tokens may, and a pause costs a step: places lie the further apart, the
fewer copies there is room for.
"""

from collections.abc import Sequence

LEAST = 8  # tokens that a checkpoint must save: fewer are read as fast as the pause costs
STRIDE = 256  # tokens from one place to the next in a long turn: batches of what is computed at once
TAIL = 64  # tokens before the end of a prompt, where a question about a long text begins
SAYING = 512  # tokens of an answer from one place to the next
APART = (
    512  # tokens from one checkpoint to the next on disk: a file is as large as thousands, and is read in the time of 5
)
LATEST = 2  # checkpoints that are on disk in any case: where another question and another try begin


def places(turns: Sequence[int], start: int, context: int, most: int) -> list[int]:
    """Where to pause, in ascending order, from `start`, which is held, up to `context`; of the prompt at most `most`.

    `turns` are the ends of the prompt's turns, ascending; the last is as far as the next request will be the same.
    """
    if most < 1 or not turns:
        return []
    gap = LEAST
    while len(found := _spaced(turns, start, gap)) > most and gap < 2 * turns[-1]:
        gap *= 2
    last = max(start, turns[-1])
    return found[-most:] + [at for at in range(0, context, SAYING) if at >= last + SAYING // 2]


def lasting(places: Sequence[int]) -> list[int]:
    """Of the checkpoints at `places`, ascending, those that are worth a file: the first, the latest, some between."""
    found = list(places[:1])
    for number, at in enumerate(places[1:], 1):
        if number >= len(places) - LATEST or at - found[-1] >= APART:
            found.append(at)
    return found


def _spaced(turns: Sequence[int], start: int, gap: int) -> list[int]:
    """The ends of turns, and places in long ones, all at least `gap` apart, but for the first and the last turn's."""
    first, last = turns[0], turns[-1]
    if last < start + LEAST:
        return []
    found = [start]
    stride = max(STRIDE, gap)
    for turn in sorted({*turns, last - TAIL}):
        if turn == last:
            while found[-1] not in (start, first) and last - found[-1] < LEAST:
                found.pop()
        elif turn - found[-1] < (LEAST if turn == first else gap):
            continue
        between = range(found[-1] // stride * stride + stride, turn, stride)
        found += [at for at in between if min(at - found[-1], turn - at) >= stride // 2]
        found.append(turn)
    return found[1:]
