"""Files of what is kept (framing with a checksum), and a folder of them under a byte budget (an LRU cache).

"EDGEKV1\\n" · checksum · length of the head · head (fingerprint, label, tokens) · state

Whose a file is can be read without reading all of it.
"""

import hashlib
import os
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import msgspec

from edgechat.process import atomic

MAGIC = b"EDGEKV1\n"
FRONT = struct.Struct("<8sII")  # magic, CRC-32 of all that follows, length of the head
MAX_HEAD = 16 << 20
PIECE = 8 << 20  # bytes read or written at once: a long conversation has half a gigabyte, a memory card 10 MB/s

Alive = Callable[[], None]  # called after every piece


class Head(msgspec.Struct, frozen=True):
    """What a file says about its state."""

    fingerprint: str
    realm: str
    conversation: str
    tokens: list[int]
    is_checkpoint: bool = False


K = TypeVar("K")
H = TypeVar("H", bound=Head)


def write(path: Path, head: bytes, state: bytes, alive: Alive = lambda: None) -> None:
    """Make a file at `path`. Raises OSError."""
    front = FRONT.pack(MAGIC, zlib.crc32(state, zlib.crc32(head)), len(head))
    whole = memoryview(state)
    with atomic.replacing(path, mode=0o600, durable=False) as part, part.open("wb") as file:
        file.writelines((front, head))
        for start in range(0, len(state), PIECE):
            file.write(whole[start : start + PIECE])
            alive()


def read(path: Path, alive: Alive = lambda: None) -> bytes | None:
    """The state in a file, or None when it is not what was written. Raises OSError."""
    with path.open("rb") as file:
        try:
            magic, checksum, length = FRONT.unpack(file.read(FRONT.size))
        except struct.error:
            return None
        found = zlib.crc32(head := file.read(min(length, MAX_HEAD)))
        pieces = []
        while piece := file.read(PIECE):
            found = zlib.crc32(piece, found)
            pieces.append(piece)
            alive()
    return b"".join(pieces) if magic == MAGIC and len(head) == length and found == checksum else None


def head_of(path: Path, size: int, kind: type[H]) -> H | None:
    """The head of a file of `size` bytes, or None when it is none of this kind."""
    try:
        with path.open("rb") as file:
            magic, _, length = FRONT.unpack(file.read(FRONT.size))
            if magic != MAGIC or length > min(MAX_HEAD, size):
                return None
            return msgspec.msgpack.decode(file.read(length), type=kind)
    except (OSError, struct.error, msgspec.DecodeError):
        return None


class File(NamedTuple, Generic[H]):
    """A file, its head, its size in bytes."""

    path: Path
    head: H
    size: int


class Folder(Generic[K, H]):
    """The files of one folder, by what `key` makes of their heads; least recently used out first.

    The fingerprint tells what may go on from them: a foreign file is left alone until room is needed, a damaged one is
    deleted. What cannot be read or written costs what it would have saved, never an answer.
    """

    def __init__(
        self,
        path: Path,
        budget: int,
        fingerprint: str,
        kind: type[H],
        key: Callable[[H], K],
        alive: Alive = lambda: None,
    ) -> None:
        """Look at what is there. `budget` in bytes counts all files. Raises OSError where there can be no folder."""
        self.files: dict[K, File[H]] = {}  # least recently used first
        self.fingerprint = fingerprint
        self.budget = budget
        self._path = path
        self._key = key
        self._alive = alive
        self._foreign: dict[Path, int] = {}
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        for part in path.glob("*.part"):  # of a process that was killed; one that writes now loses a file
            delete(part)
        for file, size in _oldest_first(path):
            head = head_of(file, size, kind)
            if head is None:
                delete(file)
            elif head.fingerprint != fingerprint:
                self._foreign[file] = size
            else:
                self.files[key(head)] = File(file, head, size)
        self.make_room(0)

    @property
    def used(self) -> int:
        """Size of all files."""
        return sum(file.size for file in self.files.values()) + sum(self._foreign.values())

    def file_of(self, head: H, state: bytes) -> tuple[File[H], bytes]:
        """The file that `state` would have, and the head as it is written."""
        written = msgspec.msgpack.encode(head)
        path = self._path / f"{hashlib.sha256(written).hexdigest()[:32]}.kv"
        return File(path, head, FRONT.size + len(written) + len(state)), written

    def put(self, head: H, state: bytes) -> None:
        """Write a file in the place of the one with its key, if it fits at all."""
        file, written = self.file_of(head, state)
        if file.size > self.budget:
            return
        self.drop(key := self._key(head))
        self.make_room(file.size)
        with suppress(OSError):
            write(file.path, written, state, self._alive)
            self.files[key] = file

    def read(self, key: K) -> bytes | None:
        """The state in a file, which was used just now; None where there is none, or a damaged one."""
        if (file := self.files.get(key)) is None:
            return None
        state = None
        with suppress(OSError):
            state = read(file.path, self._alive)
            os.utime(file.path)
        if state is None:
            self.drop(key)
        else:
            self.use(key)
        return state

    def use(self, key: K) -> None:
        """It is the last to go now."""
        self.files[key] = self.files.pop(key)

    def drop(self, key: K) -> None:
        """Delete a file."""
        if (file := self.files.pop(key, None)) is not None:
            delete(file.path)

    def forget(self, conversation: str) -> None:
        """Delete all of a conversation."""
        for key in [key for key, file in self.files.items() if file.head.conversation == conversation]:
            self.drop(key)

    def make_room(self, size: int, drop: Callable[[K], None] | None = None) -> None:
        """Delete until `size` more bytes fit: foreign files first, then the least recently used, by `drop`."""
        while self._foreign and self.used + size > self.budget:
            path = next(iter(self._foreign))
            del self._foreign[path]
            delete(path)
        while self.files and self.used + size > self.budget:
            (drop or self.drop)(next(iter(self.files)))


def _oldest_first(folder: Path) -> list[tuple[Path, int]]:
    """The files in `folder` with their sizes, by when they were used."""
    found = []
    for path in folder.glob("*.kv"):
        with suppress(OSError):
            about = path.stat()
            found.append((about.st_mtime, path, about.st_size))
    return [(path, size) for _, path, size in sorted(found)]


def delete(path: Path) -> None:
    """Delete a file, as far as the disk lets it."""
    with suppress(OSError):
        path.unlink()
