"""The prefix cache's disk tier: what left memory, and what must outlive the process.

One file per kept sequence, in a folder with a byte budget, least recently used out first:

    "EDGEKV1\\n" · checksum · length of the head · head (fingerprint, label, tokens) · the engine's state

The fingerprint tells model, engine build and cache layout: a foreign file is left alone until room is needed, a damaged
one is deleted. Reading 575 tokens of a 0.5B Qwen back takes a millisecond; computing them again takes a second.
"""

import hashlib
import os
import struct
import threading
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from queue import Queue
from typing import NamedTuple

import msgspec

from edgechat.process import atomic
from edgechat.scheduler.prefixes import PrefixTree

MAGIC = b"EDGEKV1\n"
FRONT = struct.Struct("<8sII")  # magic, CRC-32 of all that follows, length of the head
MAX_HEAD = 16 << 20
PENDING = 4  # states that may wait to be written; beyond that the scheduler waits


class Label(NamedTuple):
    """Whose a sequence is."""

    realm: str
    conversation: str


class Head(msgspec.Struct, frozen=True):
    """What a file says about its state."""

    fingerprint: str
    realm: str
    conversation: str
    tokens: list[int]


class Book(NamedTuple):
    """One file of ours."""

    id: int
    path: Path
    label: Label
    tokens: list[int]
    size: int  # bytes


class Shelf:
    """The disk tier of one worker. Called by the scheduler's thread; files are written by another one."""

    def __init__(self, folder: Path, budget: int, fingerprint: str) -> None:
        """Read what is there. `budget` in bytes counts all files of the folder."""
        self._folder = folder
        self._budget = budget
        self._fingerprint = fingerprint
        self._tree = PrefixTree()
        self._books: dict[int, Book] = {}  # least recently used first
        self._foreign: dict[Path, int] = {}
        self._unwritten: dict[int, bytes] = {}
        self._next = 0
        self._jobs: Queue[tuple[Book, bytes, bytes] | None] = Queue(PENDING)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._open()
        self._writer = threading.Thread(target=self._write_all, daemon=True)
        self._writer.start()

    @property
    def used(self) -> int:
        """Size of all files."""
        return sum(book.size for book in self._books.values()) + sum(self._foreign.values())

    def __len__(self) -> int:
        return len(self._books)

    def put(self, label: Label, tokens: Sequence[int], state: bytes) -> None:
        """Keep `state` under `tokens`. Shorter ones of the same beginning serve nothing any more and go."""
        head = msgspec.msgpack.encode(Head(self._fingerprint, label.realm, label.conversation, list(tokens)))
        size = FRONT.size + len(head) + len(state)
        if size > self._budget:
            return
        name = hashlib.sha256(head).hexdigest()[:32]
        if any(book.path.stem == name for book in self._books.values()):
            return
        self._make_room(size)
        book = self._enter(self._folder / f"{name}.kv", label, list(tokens), size)
        self._unwritten[book.id] = state
        self._jobs.put((book, head, state))

    def find(self, realm: str, tokens: Sequence[int], beyond: int) -> Book | None:
        """The book that holds the longest beginning of `tokens`, if that is longer than `beyond`."""
        found = self._tree.find(realm, tokens)
        return self._books[found.seq] if found.seq is not None and found.length > beyond else None

    def read(self, book: Book) -> bytes | None:
        """The state of `book`; None when the file is gone or damaged, and then it is forgotten.

        It may have gone since it was found: making room in memory puts other books here.
        """
        if book.id not in self._books:
            return None
        state = self._unwritten.get(book.id)
        if state is None:
            with suppress(OSError):
                state = _state(book.path.read_bytes())
                os.utime(book.path)
        if state is None:
            self.drop(book)
            return None
        self._books[book.id] = self._books.pop(book.id)
        return state

    def drop(self, book: Book) -> None:
        """Delete `book`."""
        self._unwritten.pop(book.id, None)
        self._tree.drop(book.id)
        del self._books[book.id]
        with suppress(OSError):
            book.path.unlink()

    def forget(self, conversation: str) -> None:
        """Delete all of a conversation."""
        for book in [book for book in self._books.values() if book.label.conversation == conversation]:
            self.drop(book)

    def close(self) -> None:
        """Wait until everything is written."""
        self._jobs.put(None)
        self._writer.join()

    # ── inside ──

    def _open(self) -> None:
        for part in self._folder.glob("*.part"):  # of a worker that was killed; one that writes now loses a prefix
            with suppress(OSError):
                part.unlink()
        files = []
        for path in self._folder.glob("*.kv"):
            with suppress(OSError):
                files.append((path.stat().st_mtime, path, path.stat().st_size))
        for _, path, size in sorted(files):
            head = _head(path, size)
            if head is None:
                with suppress(OSError):
                    path.unlink()
            elif head.fingerprint != self._fingerprint:
                self._foreign[path] = size
            else:
                self._enter(path, Label(head.realm, head.conversation), head.tokens, size)
        self._make_room(0)

    def _enter(self, path: Path, label: Label, tokens: list[int], size: int) -> Book:
        book = Book(self._next, path, label, tokens, size)
        self._next += 1
        self._books[book.id] = book
        self._tree.open(book.id, label.realm, [])
        for redundant in self._tree.keep(book.id, label.realm, tokens).redundant:
            gone = self._books.pop(redundant)
            self._unwritten.pop(redundant, None)
            with suppress(OSError):
                gone.path.unlink()
        return book

    def _make_room(self, size: int) -> None:
        """Delete until `size` more bytes fit: foreign files first, then the least recently used."""
        while self._foreign and self.used + size > self._budget:
            path = next(iter(self._foreign))
            del self._foreign[path]
            with suppress(OSError):
                path.unlink()
        while self._books and self.used + size > self._budget:
            self.drop(next(iter(self._books.values())))

    def _write_all(self) -> None:
        while (job := self._jobs.get()) is not None:
            book, head, state = job
            if book.id not in self._unwritten:
                continue  # dropped meanwhile
            front = FRONT.pack(MAGIC, zlib.crc32(state, zlib.crc32(head)), len(head))
            with (
                suppress(OSError),  # a full disk costs a prefix, never an answer
                atomic.replacing(book.path, mode=0o600, durable=False) as part,
                part.open("wb") as file,
            ):
                file.writelines((front, head, state))
            if self._unwritten.pop(book.id, None) is None:
                with suppress(OSError):
                    book.path.unlink()


def erase(folder: Path, conversation: str) -> None:
    """Delete all of a conversation in `folder`, whatever model it was kept for: no worker may have that one now."""
    for path in folder.glob("*.kv"):
        with suppress(OSError):
            head = _head(path, path.stat().st_size)
            if head is not None and head.conversation == conversation:
                path.unlink()


def _head(path: Path, size: int) -> Head | None:
    """The head of a file, or None when it is none of this kind."""
    try:
        with path.open("rb") as file:
            magic, _, length = FRONT.unpack(file.read(FRONT.size))
            if magic != MAGIC or length > min(MAX_HEAD, size):
                return None
            return msgspec.msgpack.decode(file.read(length), type=Head)
    except (OSError, struct.error, msgspec.DecodeError):
        return None


def _state(data: bytes) -> bytes | None:
    """The state in a file's bytes, or None when they are not what was written."""
    if len(data) < FRONT.size:
        return None
    magic, checksum, length = FRONT.unpack_from(data)
    if magic != MAGIC or zlib.crc32(memoryview(data)[FRONT.size :]) != checksum:
        return None
    return data[FRONT.size + length :]
