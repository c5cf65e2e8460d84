"""The embeddings cache: pictures as they were seen, so that a second question about one encodes nothing.

Kept by realm and SHA-256, least recently used out first. Who asks about a picture that another realm showed waits as
for a new one: how fast an answer starts must not tell what somebody else has seen.
"""

import threading
from typing import NamedTuple

from edgechat.prompt.sight import Sight, View

BYTES = 64 << 20  # of vectors: models/projectors.py counts them


class Key(NamedTuple):
    """A picture of a realm."""

    realm: str
    sha256: str


class Album:
    """What was seen. Any thread may call it."""

    def __init__(self, most: int = BYTES) -> None:
        """At most `most` bytes of vectors."""
        self._most = most
        self._bytes = 0
        self._seen: dict[Key, Sight] = {}  # least recently used first
        self._shown: dict[Key, set[str]] = {}  # in which conversations
        self._lock = threading.Lock()

    def find(self, key: Key, conversation: str) -> Sight | None:
        """The picture, if it is here; it is shown in `conversation` from now on."""
        with self._lock:
            sight = self._seen.pop(key, None)
            if sight is not None:
                self._seen[key] = sight
                self._shown[key].add(conversation)
            return sight

    def keep(self, key: Key, sight: Sight, conversation: str) -> None:
        """Hold a picture that was shown in `conversation`."""
        with self._lock:
            self._drop(key)
            self._seen[key], self._shown[key] = sight, {conversation}
            self._bytes += _size(sight)
            while self._bytes > self._most:
                self._drop(next(iter(self._seen)))

    def forget(self, conversation: str) -> None:
        """The conversation is deleted: nothing that was shown in it stays."""
        with self._lock:
            for key in [key for key, shown in self._shown.items() if conversation in shown]:
                self._drop(key)

    def _drop(self, key: Key) -> None:
        sight = self._seen.pop(key, None)
        if sight is not None:
            self._bytes -= _size(sight)
            del self._shown[key]


def _size(sight: Sight) -> int:
    return sum(len(piece.vectors) for piece in sight if isinstance(piece, View))
