"""A circuit breaker: what ended the engine's process is not given to it again and again. Pure: time is handed in.

Content that was being answered at two deaths of the process is refused for a while. Whoever was merely there too is
cleared by its next whole answer.
"""

import hashlib

import msgspec

from edgechat.types import AnyQuestion, GenRequest

STRIKES = 2  # deaths
REFUSED_S = 120.0  # after the last of them
REMEMBERED_S = 900.0  # a death is held against a content; one more then is enough


def content_of(request: GenRequest | AnyQuestion) -> bytes:
    """A digest of what is asked, whoever asks."""
    if not isinstance(request, GenRequest):
        return hashlib.sha256(msgspec.msgpack.encode(request)).digest()
    asked = msgspec.structs.replace(
        request, media={}, user="", client="", realm="", conversation="", background=False, purpose="answer"
    )
    return hashlib.sha256(msgspec.msgpack.encode(asked)).digest()


class Breaker:
    """Remembers which contents were there when the process died."""

    def __init__(self) -> None:
        self._strikes: dict[bytes, list[float]] = {}  # when the process died over it

    def refused_s(self, content: bytes, now: float) -> float:
        """Seconds for which `content` is refused; 0 lets it in."""
        strikes = self._strikes.get(content, [])
        return max(0.0, strikes[-1] + REFUSED_S - now) if len(strikes) >= STRIKES else 0.0

    def died(self, contents: set[bytes], now: float) -> None:
        """The process died while it answered `contents`."""
        fresh = {content: [t for t in times if now - t < REMEMBERED_S] for content, times in self._strikes.items()}
        self._strikes = {content: times for content, times in fresh.items() if times}
        for content in contents:
            self._strikes[content] = [*self._strikes.get(content, []), now]

    def answered(self, content: bytes) -> None:
        """`content` got its whole answer: it was not the cause."""
        self._strikes.pop(content, None)
