"""Detokenisation: tokens to text, whole characters only, and never half a stop string.

token ─► bytes ─► held until the character is whole ─► held while it could begin a stop string ─► text
"""

import codecs
from collections.abc import Callable, Sequence


class Detokenizer:
    """The text of one answer, as it grows."""

    def __init__(self, piece: Callable[[int], bytes], stop: Sequence[str] = ()) -> None:
        """`piece` gives a token's bytes; a stop string ends the text before itself."""
        self._piece = piece
        self._stop = tuple(stop)
        self._characters = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""
        self.met: str | None = None  # the stop string that ended the text

    @property
    def stopped(self) -> bool:
        """Whether a stop string was met."""
        return self.met is not None

    def push(self, token: int) -> str:
        """The text that is certain now. After a stop string was met, `stopped` is true and nothing follows."""
        return "" if self.stopped else self._release(self._characters.decode(self._piece(token)))

    def finish(self) -> str:
        """What was held back and turned out to be text. Half a character at the very end is dropped."""
        rest, self._held = "" if self.stopped else self._held, ""
        return rest

    def _release(self, text: str) -> str:
        self._held += text
        found = [(at, stop) for at, stop in ((self._held.find(stop), stop) for stop in self._stop) if at >= 0]
        if found:
            at, self.met = min(found)
            return self._held[:at]
        keep = max((overlap(self._held, stop) for stop in self._stop), default=0)
        cut = len(self._held) - keep
        text, self._held = self._held[:cut], self._held[cut:]
        return text


def overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-n:])), 0)
