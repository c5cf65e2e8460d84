"""Truncation: which turns stay when a conversation does not fit the context. Pure.

A turn is a user's message and all that follows until the user's next one. System messages and the newest turn always
stay; the rest goes from the oldest end, in blocks, so that the beginning of the prompt stays the same for several
turns and need not be read again:

    system │ turn turn turn │ turn turn │ turn turn turn turn …
                            ▲           ▲
                            cuts: the first turn that begins after each further BLOCK of the room

Cuts depend only on what comes before them: a conversation that grows keeps its cut until the rest does not fit.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from edgechat.types import Message

BLOCK = 1 / 4  # of the room
OVERHEAD = 8  # tokens that a template writes around a message, about
SHORT = 1 << 16  # characters that are tokens in a moment, whatever they are
FAR = 2  # rooms: what has more tokens is not even tried


class Fitted(NamedTuple):
    """What is left of a conversation."""

    messages: list[Message]
    dropped: int
    tokens: list[int]


def fit(
    messages: Sequence[Message],
    room: int,
    encode: Callable[[Sequence[Message]], list[int]],
    count: Callable[[Message], int],
) -> Fitted:
    """The most of `messages` whose prompt, as `encode` makes it, has at most `room` tokens.

    `count` gives the tokens of a message alone, or as many as are far too much. What must stay is returned even where
    it has more.
    """
    fitted = Fitted(list(messages), 0, [])
    if sum(len(message.text) for message in messages) <= SHORT or sum(map(count, messages)) <= FAR * room:
        fitted = Fitted(list(messages), 0, encode(messages))
        if len(fitted.tokens) <= room:
            return fitted
    head, turns = _parted(messages)
    sizes = [sum(count(message) + OVERHEAD for message in turn) for turn in turns]
    for cut in _cuts(sizes, max(1, int(room * BLOCK))):
        if sum(sizes[cut:]) > FAR * room and cut < len(turns) - 1:
            continue
        kept = [*head, *(message for turn in turns[cut:] for message in turn)]
        fitted = Fitted(kept, len(messages) - len(kept), encode(kept))
        if len(fitted.tokens) <= room:
            break
    return fitted


def counted(text: str, encode: Callable[[str], list[int]], enough: int) -> int:
    """The tokens of `text`; of a long one those of its parts, until they are more than `enough`."""
    count = 0
    for at in range(0, len(text), SHORT):
        count += len(encode(text[at : at + SHORT]))
        if count > enough:
            break
    return count


def staying(messages: Sequence[Message]) -> list[Message]:
    """Those that are never dropped."""
    head, turns = _parted(messages)
    return [*head, *(turns[-1] if turns else ())]


def _parted(messages: Sequence[Message]) -> tuple[list[Message], list[list[Message]]]:
    """The system messages, and the turns."""
    head = [message for message in messages if message.role == "system"]
    turns: list[list[Message]] = []
    for message in messages:
        if message.role == "system":
            continue
        if message.role == "user" or not turns:
            turns.append([])
        turns[-1].append(message)
    return head, turns


def _cuts(sizes: Sequence[int], block: int) -> list[int]:
    """Turns at which the conversation may begin, oldest first: one for each block, and the newest turn."""
    cuts, gone, passed = [], 0, 0
    for at, size in enumerate(sizes):
        if gone // block > passed:
            cuts.append(at)
            passed = gone // block
        gone += size
    last = len(sizes) - 1
    return cuts if cuts and cuts[-1] == last else [*cuts, last]
