"""The prefix cache's disk tier: what left memory, and what must outlive the process.

One file (books.py) per kept sequence, in a folder with a byte budget, least recently used out first. The fingerprint
tells model, engine build and cache layout: a foreign file is left alone until room is needed, a damaged one is deleted.
Reading 575 tokens of a 0.5B Qwen back takes a millisecond; computing them again takes a second.

A checkpoint (checkpoints.py) is a file of the same form, whose state is the running one alone: once for all sequences
that begin with its tokens, and there for as long as one of them is.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

import msgspec

from edgechat import machine
from edgechat.engine.base import Cuts
from edgechat.scheduler import books
from edgechat.scheduler.books import FRONT, Head
from edgechat.scheduler.prefixes import PrefixTree

NONE: Mapping[int, bytes] = {}
PATIENT = 10  # nice of the thread that writes: steps meet at each layer, and wait there for whoever lost its core
PENDING = 64 << 20  # bytes that may wait to be written, or one conversation: beyond that the scheduler waits


class Label(NamedTuple):
    """Whose a sequence is."""

    realm: str
    conversation: str


class Book(NamedTuple):
    """One file of ours."""

    id: int
    path: Path
    label: Label
    tokens: list[int]
    size: int  # bytes
    is_checkpoint: bool = False


class Beginning(NamedTuple):
    """`length` tokens of `book`, with the checkpoint of the last one where the engine needs one."""

    length: int
    book: Book
    checkpoint: Book | None


class Job(NamedTuple):
    """A file to be written."""

    book: Book
    head: bytes
    state: bytes


class Shelf:
    """The disk tier of one worker. Called by the scheduler's thread; files are written by another one."""

    def __init__(
        self,
        folder: Path,
        budget: int,
        fingerprint: str,
        cuts: Cuts = "anywhere",
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        """Read what is there. `budget` in bytes counts all files of the folder; `cuts` is the engine's.

        `alive` is called after every piece that was read or written, from either thread.
        """
        self._folder = folder
        self._budget = budget
        self._fingerprint = fingerprint
        self._alive = alive
        self._tree = PrefixTree(cuts)
        self._books: dict[int, Book] = {}  # least recently used first
        self._foreign: dict[Path, int] = {}
        self._unwritten: dict[int, bytes] = {}
        self._next = 0
        self._written = threading.Condition()
        self._jobs: SimpleQueue[list[Job] | None] = SimpleQueue()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._open()
        self._writer = threading.Thread(target=self._write_all, daemon=True)
        self._writer.start()

    @property
    def used(self) -> int:
        """Size of all files."""
        return sum(book.size for book in self._books.values()) + sum(self._foreign.values())

    @property
    def is_behind(self) -> bool:
        """Whether as much waits to be written as may."""
        return self._waiting() >= PENDING

    def __len__(self) -> int:
        return len(self._books)

    def put(self, label: Label, tokens: Sequence[int], state: bytes, checkpoints: Mapping[int, bytes] = NONE) -> None:
        """Keep `state` under `tokens`, and the running states that it has `checkpoints` of, by their length.

        Shorter ones of the same beginning serve nothing any more and go.
        """
        jobs, size = [], 0
        for length, data in ((len(tokens), state), *checkpoints.items()):
            job = self._job(label, list(tokens[:length]), data, is_checkpoint=data is not state)
            if any(book.path == job.book.path for book in self._books.values()):
                continue
            if size + job.book.size > self._budget:
                break
            jobs.append(job)
            size += job.book.size
        with self._written:
            self._written.wait_for(lambda: not self._unwritten or self._waiting() + size <= PENDING)
        self._make_room(size)
        jobs = [job for job in jobs if self._enter(job.book)]
        self._unwritten |= {job.book.id: job.state for job in jobs}
        self._jobs.put(jobs)

    def find(self, realm: str, tokens: Sequence[int], beyond: int) -> Beginning | None:
        """The longest beginning of `tokens` from which the engine can go on, if that is longer than `beyond`."""
        length, book, checkpoint = self._tree.find(realm, tokens)
        if book is None or length <= beyond:
            return None
        return Beginning(length, self._books[book], None if checkpoint is None else self._books[checkpoint])

    def read(self, book: Book) -> bytes | None:
        """The state of `book`; None when the file is gone or damaged, and then it is forgotten.

        It may have gone since it was found: making room in memory puts other books here.
        """
        if book.id not in self._books:
            return None
        state = self._unwritten.get(book.id)
        if state is None:
            with suppress(OSError):
                state = books.read(book.path, self._alive)
                os.utime(book.path)
        if state is None:
            self.drop(book)
            return None
        self._books[book.id] = self._books.pop(book.id)
        return state

    def drop(self, book: Book) -> None:
        """Delete `book`, and the checkpoints that no other one has."""
        if book.is_checkpoint:
            self._tree.unmark(book.id)
            self._delete(book.id)
        else:
            for gone in (book.id, *self._tree.drop(book.id)):
                self._delete(gone)

    def forget(self, conversation: str) -> None:
        """Delete all of a conversation."""
        for book in [book for book in self._books.values() if book.label.conversation == conversation]:
            if book.id in self._books:
                self.drop(book)

    def close(self) -> None:
        """Wait until everything is written."""
        self._jobs.put(None)
        self._writer.join()

    # ── inside ──

    def _waiting(self) -> int:
        """Bytes that are not written yet."""
        return sum(map(len, list(self._unwritten.values())))

    def _open(self) -> None:
        for part in self._folder.glob("*.part"):  # of a worker that was killed; one that writes now loses a prefix
            with suppress(OSError):
                part.unlink()
        found = []
        for path in self._folder.glob("*.kv"):
            with suppress(OSError):
                about = path.stat()
                found.append((about.st_mtime, path, about.st_size, books.head_of(path, about.st_size, Head)))
        found.sort(key=lambda one: one[0])
        ours: list[Book] = []
        for _, path, size, head in found:
            if head is None:
                with suppress(OSError):
                    path.unlink()
            elif head.fingerprint != self._fingerprint:
                self._foreign[path] = size
            else:
                label = Label(head.realm, head.conversation)
                ours.append(Book(len(ours), path, label, head.tokens, size, head.is_checkpoint))
        self._next = len(ours)
        for book in sorted(ours, key=lambda one: one.is_checkpoint):  # each lies on the tokens of another
            self._enter(book)
        self._books = dict(sorted(self._books.items()))
        self._make_room(0)

    def _job(self, label: Label, tokens: list[int], state: bytes, is_checkpoint: bool) -> Job:
        head = msgspec.msgpack.encode(Head(self._fingerprint, label.realm, label.conversation, tokens, is_checkpoint))
        path = self._folder / f"{hashlib.sha256(head).hexdigest()[:32]}.kv"
        self._next += 1
        size = FRONT.size + len(head) + len(state)
        return Job(Book(self._next, path, label, tokens, size, is_checkpoint), head, state)

    def _enter(self, book: Book) -> bool:
        """Note `book` in the tree; False where it serves nothing: then it is deleted."""
        self._books[book.id] = book
        if book.is_checkpoint:
            if not self._tree.mark(book.label.realm, book.tokens, book.id):
                self._delete(book.id)
                return False
            return True
        self._tree.open(book.id, book.label.realm, [])
        for redundant in self._tree.keep(book.id, book.label.realm, book.tokens).redundant:
            self._delete(redundant)
        return True

    def _delete(self, id: int) -> None:
        self._unwritten.pop(id, None)
        with suppress(OSError):
            self._books.pop(id).path.unlink()

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
        machine.give_way(PATIENT)
        while (jobs := self._jobs.get()) is not None:
            for job in jobs:
                self._write(job)

    def _write(self, job: Job) -> None:
        book, head, state = job
        if book.id not in self._unwritten:
            return  # dropped meanwhile
        with suppress(OSError):  # a full disk costs a prefix, never an answer
            books.write(book.path, head, state, self._alive)
        with self._written:
            is_dropped = self._unwritten.pop(book.id, None) is None
            self._written.notify()
        if is_dropped:
            with suppress(OSError):
                book.path.unlink()


def erase(folder: Path, conversation: str) -> None:
    """Delete all of a conversation in `folder`, whatever model it was kept for: no worker may have that one now."""
    for path in folder.rglob("*.kv"):
        with suppress(OSError):
            head = books.head_of(path, path.stat().st_size, Head)
            if head is not None and head.conversation == conversation:
                path.unlink()
