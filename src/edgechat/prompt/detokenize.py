"""Detokenisation and stop strings: tokens to text, whole characters only, and never half a stop string.

token ─► bytes ─► held until the character is whole ─► Reply (reply.py) ─► what is said ─► held while it could begin a
                                                                                           stop string ─► text
"""

import codecs
from collections.abc import Callable, Sequence


class Detokenizer:
    """The text of one answer, as it grows. Half a character at the very end is dropped."""

    def __init__(self, piece: Callable[[int], bytes]) -> None:
        """`piece` gives a token's bytes."""
        self._piece = piece
        self._characters = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        """The characters that are whole now."""
        return self._characters.decode(self._piece(token))


class Stops:
    """The stop strings of one answer: each ends what is said before itself. Thoughts and calls are not theirs."""

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._stop = tuple(stop)
        self._held = ""
        self.met: str | None = None  # the one that ended the text

    def push(self, text: str) -> str:
        """What of `text` is certain to be said. After a stop string was met, `met` is it and nothing follows."""
        if self.met is not None:
            return ""
        self._held += text
        found = [(at, stop) for at, stop in ((self._held.find(stop), stop) for stop in self._stop) if at >= 0]
        if found:
            at, self.met = min(found)
            return self._held[:at]
        keep = max((overlap(self._held, stop) for stop in self._stop), default=0)
        cut = len(self._held) - keep
        text, self._held = self._held[:cut], self._held[cut:]
        return text

    def rest(self) -> str:
        """What was held back and turned out to be text: what follows is none, or not said."""
        rest, self._held = "" if self.met is not None else self._held, ""
        return rest


def overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-n:])), 0)
