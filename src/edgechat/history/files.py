"""Blob files: the bytes of attachments, each in a file of its own beside the database; attachments.py has their rows.

    Upload ── written, hashed, flushed ──► Incoming ──► a row, COMMIT ──► settle ──► acknowledged

Files, because deleting must work on a full disk, where a database that overwrites what it deletes first needs as much
room as it frees; because no start checks, and no turn waits behind, what is large. Names are made up and never used
twice: who deletes a file cannot hit a newer one.
"""

import hashlib
import secrets
import sqlite3
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from os import fsync
from pathlib import Path, PurePath
from typing import NamedTuple

from edgechat.errors import InvalidRequest, NoSpace, StorageError
from edgechat.media.size import size_of
from edgechat.media.sniff import HEAD, MEDIA_TYPES, refusal, sniff
from edgechat.process import atomic
from edgechat.process.disk import is_full
from edgechat.types import Attachment, Kind

LONGEST_NAME = 255  # characters
STRAY_S = 24 * 3600  # age at which a file without a row is nobody's


class Incoming(NamedTuple):
    """Bytes that are on the disk for good, in a file that no row names yet."""

    file: str
    sha256: str
    size: int
    kind: Kind
    media_type: str
    name: str = ""  # of the file that it was


class Kept(NamedTuple):
    """An attachment, and the file that has its bytes."""

    attachment: Attachment
    file: str


def new_name() -> str:
    """What no file is called."""
    return f"a-{secrets.token_hex(16)}"


def called(name: str) -> str:
    """A file's own name, without where it lay, on one line."""
    own = "".join(letter if letter.isprintable() else " " for letter in PurePath(name.replace("\\", "/")).name)
    return own.strip()[-LONGEST_NAME:]


class Upload:
    """Bytes on their way in: `add` them, then `finish`, or `drop`. Blocks; raises NoSpace and StorageError."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / new_name()
        with _told(folder):
            _made(folder)
            self._out = self._path.open("xb")
        self._hash, self._size, self._head = hashlib.sha256(), 0, b""

    def add(self, piece: bytes) -> None:
        """More bytes."""
        with _told(self._path.parent):
            self._out.write(piece)
        self._hash.update(piece)
        self._size += len(piece)
        self._head += piece[: HEAD - len(self._head)]

    def finish(self, name: str = "") -> Incoming:
        """That was all of the file `name`: make it last. Raises InvalidRequest where it is of no kind that is known."""
        found = sniff(self._head)
        if found is None:
            raise InvalidRequest(f"{refusal(self._head, MEDIA_TYPES)}.")
        with _told(self._path.parent):
            self._out.flush()
            fsync(self._out.fileno())
            self._out.close()
            atomic.flush_folder(self._path.parent)
        return Incoming(self._path.name, self._hash.hexdigest(), self._size, *found, called(name))

    def drop(self) -> None:
        """Nobody wants it."""
        with suppress(OSError):  # what could not be written cannot be flushed either
            self._out.close()
        with suppress(OSError):  # then it is swept when it is old
            self._path.unlink()


def stored(folder: Path, content: bytes, name: str = "") -> Incoming:
    """`content`, on the disk for good. Raises as `Upload` does."""
    upload = Upload(folder)
    try:
        upload.add(content)
        return upload.finish(name)
    except BaseException:
        upload.drop()
        raise


def settle(folder: Path, incoming: Incoming, kept: Kept) -> None:
    """After the COMMIT: what was there already is replaced by the same bytes, and so mended where the disk lost it.

    Raises StorageError where they are not there.
    """
    with _told(folder):
        (folder / incoming.file).replace(folder / kept.file)
        if kept.file != incoming.file:
            atomic.flush_folder(folder)


def read(folder: Path, kept: Kept) -> bytes:
    """The bytes, and no others. Raises StorageError."""
    sha256 = kept.attachment.sha256
    try:
        content = (folder / kept.file).read_bytes()
    except OSError as error:
        raise StorageError(f"attachment {sha256} cannot be read: {error.strerror}. Upload it again.") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise StorageError(f"attachment {sha256} is damaged on the disk: upload it again.")
    return content


def dimensions(folder: Path, kept: Kept) -> tuple[int, int] | None:
    """Width and height of a picture, as far as its header tells them. Raises StorageError."""
    with _told(folder), (folder / kept.file).open("rb") as file:
        found = size_of(file, kept.attachment.media_type)
    return found if found and all(found) else None


def delete(folder: Path, names: Collection[str]) -> None:
    """Delete files for good. Raises StorageError."""
    if not names:
        return  # and perhaps there is no folder
    with _told(folder):
        for name in names:
            (folder / name).unlink(missing_ok=True)
        atomic.flush_folder(folder)


def old(folder: Path) -> set[str]:
    """The files that have been there for a day."""
    before, found = time.time() - STRAY_S, set()
    for path in folder.iterdir() if folder.exists() else ():
        with suppress(OSError):  # gone meanwhile
            if path.stat().st_mtime < before:
                found.add(path.name)
    return found


# ── in a backup, which is one file ──


def enclose(copied: sqlite3.Connection, folder: Path) -> None:
    """Put the bytes of every attachment into a copy of the database, as far as they are there."""
    copied.execute("CREATE TABLE enclosed (file TEXT NOT NULL, bytes BLOB NOT NULL)")
    for (name,) in copied.execute("SELECT file FROM attachment WHERE owner IS NOT NULL").fetchall():
        with suppress(FileNotFoundError):  # destroyed meanwhile
            copied.execute("INSERT INTO enclosed VALUES (?, ?)", (name, (folder / name).read_bytes()))
            copied.commit()


def unpack(copied: sqlite3.Connection, folder: Path) -> None:
    """Take them out again, into files with names of their own."""
    if not copied.execute("SELECT 1 FROM sqlite_master WHERE name = 'enclosed'").fetchone():
        return  # a backup of before there were any
    _made(folder)
    for (row,) in copied.execute("SELECT rowid FROM enclosed").fetchall():
        former, content = copied.execute("SELECT file, bytes FROM enclosed WHERE rowid = ?", (row,)).fetchone()
        name = new_name()
        atomic.replace(folder / name, content, mode=0o600)
        copied.execute("UPDATE attachment SET file = ? WHERE file = ?", (name, former))
    copied.execute("DROP TABLE enclosed")
    copied.commit()
    copied.execute("VACUUM")


def _made(folder: Path) -> None:
    if not folder.exists():
        folder.mkdir(mode=0o700, exist_ok=True)
        atomic.flush_folder(folder.parent)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """What the disk refuses becomes one of our errors."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise NoSpace("the disk is full: nothing more is saved until there is space again.") from error
        raise StorageError(f"{folder} cannot be written: {error.strerror}.") from error
