"""The embeddings cache: pictures as they were seen, in memory and on disk, so that nothing is encoded twice.

    bytes as they came, cap ─► the scaled pixels' hash ─► sight        a second question: neither decoded nor encoded
    another file of them ──── decoded ──────┘                          not encoded

Kept by realm, least recently used out first. Who asks about a picture that another realm showed waits as for a new one:
how fast an answer starts must not tell what somebody else has seen. On disk each is a file like those of the prefix
cache (scheduler/books.py), in a folder below it: what deletes a conversation there finds it, too.
"""

import threading
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from edgechat.prompt.sight import Sight, View
from edgechat.scheduler import books

BYTES = 64 << 20  # of vectors in memory: models/projectors.py counts them
NAMES = 4096  # of files, as many as are remembered
SHARE = 8  # of the disk's room for what was read, the part that is theirs: one eighth

_sights: msgspec.msgpack.Decoder[Sight] = msgspec.msgpack.Decoder(Sight)


class Key(NamedTuple):
    """A picture of a realm, by the hash of its scaled pixels; or a file that shows one, by that and the cap."""

    realm: str
    name: str


class Cover(books.Head, frozen=True):
    """The head of a picture's file."""

    pixels: str = ""
    name: str = ""  # of the file that it was first sent as


Disk = books.Folder[Key, Cover]


def on_disk(folder: Path, budget: int, fingerprint: str) -> Disk | None:
    """Where pictures outlive the process, in at most `budget` bytes; None where no folder can be.

    `fingerprint` tells the encoder.
    """
    with suppress(OSError):
        return Disk(folder, budget, fingerprint, Cover, lambda cover: Key(cover.realm, cover.pixels))
    return None


class Album:
    """What was seen. Any thread may call it."""

    def __init__(self, most: int = BYTES, disk: Disk | None = None) -> None:
        """At most `most` bytes of vectors in memory."""
        self._most = most
        self._bytes = 0
        self._seen: dict[Key, Sight] = {}  # least recently used first
        self._shown: dict[Key, set[str]] = {}  # in which conversations
        self._unwritten: list[tuple[Key, Cover]] = []
        self._disk = disk
        here = disk.files.items() if disk else ()
        self._pixels = {Key(key.realm, file.head.name): key for key, file in here}  # what a file shows
        self._lock = threading.Lock()

    def find(self, file: Key, conversation: str) -> Sight | None:
        """The picture that `file` shows, if it is here; it is shown in `conversation` from now on."""
        with self._lock:
            key = self._pixels.get(file)
            return None if key is None else self._find(key, conversation)

    def know(self, file: Key, pixels: str, conversation: str) -> Sight | None:
        """The same, once it is known which pixels `file` shows."""
        with self._lock:
            return self._find(self._note(file, pixels), conversation)

    def keep(self, file: Key, pixels: str, sight: Sight, conversation: str) -> None:
        """Hold a picture that was shown in `conversation`, as `file`; `write` brings it to the disk."""
        with self._lock:
            key = self._note(file, pixels)
            self._hold(key, sight, conversation)
            if self._disk is not None:
                cover = Cover(self._disk.fingerprint, file.realm, conversation, [], pixels=pixels, name=file.name)
                self._unwritten.append((key, cover))

    def write(self) -> None:
        """Bring to the disk what is not there."""
        with self._lock:
            for key, cover in self._unwritten:
                if self._disk is not None and key in self._seen:
                    self._disk.put(cover, msgspec.msgpack.encode(self._seen[key]))
            self._unwritten.clear()

    def forget(self, conversation: str) -> None:
        """The conversation is deleted: nothing that was shown in it stays."""
        with self._lock:
            for key in [key for key, shown in self._shown.items() if conversation in shown]:
                self._drop(key)
                if self._disk is not None:
                    self._disk.drop(key)
            if self._disk is not None:
                self._disk.forget(conversation)

    def _note(self, file: Key, pixels: str) -> Key:
        """That `file` shows these. Names come from outside: of many, those of what is gone are forgotten."""
        if len(self._pixels) >= NAMES:
            here = self._seen.keys() | (self._disk.files.keys() if self._disk else set())
            self._pixels = {name: key for name, key in self._pixels.items() if key in here}
        self._pixels[file] = Key(file.realm, pixels)
        return self._pixels[file]

    def _find(self, key: Key, conversation: str) -> Sight | None:
        sight = self._seen.pop(key, None)
        if sight is not None:
            self._seen[key] = sight
            self._shown[key].add(conversation)
        elif self._disk is not None and (data := self._disk.read(key)) is not None:
            sight = _sights.decode(data)
            self._hold(key, sight, conversation)
        return sight

    def _hold(self, key: Key, sight: Sight, conversation: str) -> None:
        self._drop(key)
        self._seen[key], self._shown[key] = sight, {conversation}
        self._bytes += _size(sight)
        while self._bytes > self._most:
            self._drop(next(iter(self._seen)))

    def _drop(self, key: Key) -> None:
        sight = self._seen.pop(key, None)
        if sight is not None:
            self._bytes -= _size(sight)
            del self._shown[key]


def _size(sight: Sight) -> int:
    return sum(len(piece.vectors) for piece in sight if isinstance(piece, View))
