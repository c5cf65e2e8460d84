"""The prefix cache's disk tier: what left memory, and what must outlive the process.

One file per kept sequence, in a folder with a byte budget (books.py); its fingerprint tells model, engine build and
cache layout. Reading 575 tokens of a 0.5B Qwen back takes a millisecond; computing them again takes a second.

A checkpoint (checkpoints.py) is a file of the same form, whose state is the running one alone: once for all sequences
that begin with its tokens, and there for as long as one of them is.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from edgechat import machine
from edgechat.engine.base import Cuts
from edgechat.scheduler import books
from edgechat.scheduler.books import File, Folder, Head
from edgechat.scheduler.prefixes import PrefixTree

NONE: Mapping[int, bytes] = {}
PATIENT = 10  # nice of the thread that writes: steps meet at each layer, and wait there for whoever lost its core
PENDING = 64 << 20  # bytes that may wait to be written, or one conversation: beyond that the scheduler waits


class Label(NamedTuple):
    """Whose a sequence is."""

    realm: str
    conversation: str


class Book(NamedTuple):
    """One file of ours, and its number in the tree."""

    id: int
    file: File[Head]

    @property
    def label(self) -> Label:
        """Whose it is."""
        return Label(self.file.head.realm, self.file.head.conversation)

    @property
    def tokens(self) -> list[int]:
        """What it is the state of."""
        return self.file.head.tokens


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
        self._alive = alive
        self._tree = PrefixTree(cuts)
        self._ids = count()
        self._unwritten: dict[int, bytes] = {}
        self._written = threading.Condition()
        self._jobs: SimpleQueue[list[Job] | None] = SimpleQueue()
        self._folder = Folder(folder, budget, fingerprint, Head, lambda _: next(self._ids), alive)
        for id, file in sorted(self._folder.files.items(), key=lambda one: one[1].head.is_checkpoint):
            self._note(Book(id, file))  # a checkpoint lies on the tokens of another one
        self._writer = threading.Thread(target=self._write_all, daemon=True)
        self._writer.start()

    @property
    def is_behind(self) -> bool:
        """Whether as much waits to be written as may."""
        return self._waiting() >= PENDING

    def __len__(self) -> int:
        return len(self._folder.files)

    def put(self, label: Label, tokens: Sequence[int], state: bytes, checkpoints: Mapping[int, bytes] = NONE) -> None:
        """Keep `state` under `tokens`, and the running states that it has `checkpoints` of, by their length.

        Shorter ones of the same beginning serve nothing any more and go.
        """
        jobs, size = [], 0
        for length, data in ((len(tokens), state), *checkpoints.items()):
            is_checkpoint = data is not state
            head = Head(self._folder.fingerprint, label.realm, label.conversation, list(tokens[:length]), is_checkpoint)
            file, written = self._folder.file_of(head, data)
            if any(other.path == file.path for other in self._folder.files.values()):
                continue
            if size + file.size > self._folder.budget:
                break
            jobs.append(Job(Book(next(self._ids), file), written, data))
            size += file.size
        with self._written:
            self._written.wait_for(lambda: not self._unwritten or self._waiting() + size <= PENDING)
        self._folder.make_room(size, lambda id: self.drop(self._book(id)))
        jobs = [job for job in jobs if self._enter(job.book)]
        self._unwritten |= {job.book.id: job.state for job in jobs}
        self._jobs.put(jobs)

    def find(self, realm: str, tokens: Sequence[int], beyond: int) -> Beginning | None:
        """The longest beginning of `tokens` from which the engine can go on, if that is longer than `beyond`."""
        length, book, checkpoint = self._tree.find(realm, tokens)
        if book is None or length <= beyond:
            return None
        return Beginning(length, self._book(book), None if checkpoint is None else self._book(checkpoint))

    def read(self, book: Book) -> bytes | None:
        """The state of `book`; None when the file is gone or damaged, and then it is forgotten.

        It may have gone since it was found: making room in memory puts other books here.
        """
        if book.id not in self._folder.files:
            return None
        state = self._unwritten.get(book.id)
        if state is not None:
            self._folder.use(book.id)
        elif (state := self._folder.read(book.id)) is None:
            self.drop(book)
        return state

    def drop(self, book: Book) -> None:
        """Delete `book`, and the checkpoints that no other one has."""
        if book.file.head.is_checkpoint:
            self._tree.unmark(book.id)
            self._delete(book.id)
        else:
            for gone in (book.id, *self._tree.drop(book.id)):
                self._delete(gone)

    def forget(self, conversation: str) -> None:
        """Delete all of a conversation."""
        for id, file in list(self._folder.files.items()):
            if file.head.conversation == conversation and id in self._folder.files:
                self.drop(Book(id, file))

    def close(self) -> None:
        """Wait until everything is written."""
        self._jobs.put(None)
        self._writer.join()

    # ── inside ──

    def _waiting(self) -> int:
        """Bytes that are not written yet."""
        return sum(map(len, list(self._unwritten.values())))

    def _book(self, id: int) -> Book:
        return Book(id, self._folder.files[id])

    def _enter(self, book: Book) -> bool:
        """Note a new `book`; False where it serves nothing: then it is deleted."""
        self._folder.files[book.id] = book.file
        return self._note(book)

    def _note(self, book: Book) -> bool:
        """Note `book` in the tree; False where it serves nothing: then it is deleted."""
        if book.file.head.is_checkpoint:
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
        self._folder.drop(id)

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
            books.write(book.file.path, head, state, self._alive)
        with self._written:
            is_dropped = self._unwritten.pop(book.id, None) is None
            self._written.notify()
        if is_dropped:
            books.delete(book.file.path)


def erase(folder: Path, conversation: str) -> None:
    """Delete all of a conversation in `folder`, whatever model it was kept for: no worker may have that one now."""
    for path in folder.rglob("*.kv"):
        with suppress(OSError):
            head = books.head_of(path, path.stat().st_size, Head)
            if head is not None and head.conversation == conversation:
                path.unlink()
