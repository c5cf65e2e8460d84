"""The store of one home folder: opened, written by one thread, read by a few others.

history/history.db            the conversations (and -wal, -shm beside it while it is open)
history/attachments/a-…       what messages hold besides text, each in a file
history/before-2.db           a copy from before the step to schema 2
history/reserve               room for deleting on a full disk
history/lease-….lock          held by each process that produces answers, for as long as it lives
history/server.lock           held by the one server
"""

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from filelock import FileLock, Timeout

from edgechat.errors import HistoryDamaged, HomeInUse, StorageError
from edgechat.history import attachments, conversations, files, schema, turns
from edgechat.history.inspection import examine
from edgechat.history.writer import Writer, translate
from edgechat.process import atomic

READERS = 4
BUSY_S = 5.0  # how long another process may hold the file

P = ParamSpec("P")
T = TypeVar("T")


class History:
    """Conversations on disk. `open` first; then `write` and `read` from any thread."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "history"
        self.path = self.folder / "history.db"
        self.attachments = self.folder / "attachments"
        self.lease = turns.new_id("lease")
        self._lock: FileLock | None = None
        self._claim: FileLock | None = None
        self._writer: Writer | None = None
        self._readers = ThreadPoolExecutor(READERS, "history-reader")
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []  # the readers'
        self._identity: tuple[int, int] | None = None

    def open(self) -> None:
        """Make or check the file, bring its schema up to date, and settle what dead processes left.

        Raises HistoryDamaged, ConfigError (another program's file, or a newer edgechat's), StorageError.
        """
        if self._writer is not None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = FileLock(self.folder / f"{self.lease}.lock")
            self._lock.acquire(timeout=0)
            examine(self.path)
            with closing(connect(self.path)) as db:
                self.path.chmod(0o600)  # before the files beside it are made: SQLite gives them the same
                self._migrate(db)
        except OSError as error:
            raise StorageError(
                f"{self.folder} cannot be written: {error.strerror}. Choose another place with EDGECHAT_HOME."
            ) from error
        except sqlite3.Error as error:
            raise translate(error) from error
        self._identity = _identity(self.path)
        self._writer = Writer(partial(connect, self.path), self._check, self.folder / "reserve")
        self.reap()
        self.sweep()

    def claim(self) -> None:
        """Be the one server of this folder. Raises HomeInUse where there is one."""
        lock = FileLock(self.folder / "server.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise HomeInUse(f"another server uses {self.folder.parent}: stop it, or take another --home.") from None
        self._claim = lock

    def close(self) -> None:
        """Commit what waits and let go."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._readers.shutdown()
        while self._connections:
            self._connections.pop().close()
        for lock in (self._lock, self._claim):
            if lock is not None:
                lock.release()
                with suppress(OSError):
                    Path(lock.lock_file).unlink()

    def write(
        self, change: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> "Future[T]":
        """Run `change(connection, …)` in a transaction; the future is done after COMMIT."""
        assert self._writer is not None, "open first"
        return self._writer.submit(lambda db: change(db, *args, **kwargs))

    def free(
        self, change: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> "Future[T]":
        """As `write`, for changes that make room: they work on a full disk too."""
        assert self._writer is not None, "open first"
        return self._writer.submit(lambda db: change(db, *args, **kwargs), frees=True)

    def read(
        self, look: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> "Future[T]":
        """Run `look(connection, …)` against one state of the database, beside the writer."""
        return self._readers.submit(self._look, lambda db: look(db, *args, **kwargs))

    def scrub(self) -> "Future[None]":
        """Leave nothing of what was purged in the file of recent changes."""
        return self._readers.submit(_truncate, self.path)

    def _look(self, look: Callable[[sqlite3.Connection], T]) -> T:
        try:
            db = self._reader()
            db.execute("BEGIN")
            try:
                return look(db)
            finally:
                db.execute("ROLLBACK")
        except sqlite3.Error as error:
            self._local.__dict__.clear()
            raise translate(error) from error

    def _reader(self) -> sqlite3.Connection:
        """This thread's own connection."""
        if not hasattr(self._local, "db"):
            self._local.db = connect(self.path)
            self._local.db.execute("PRAGMA query_only = ON")
            self._connections.append(self._local.db)
        db: sqlite3.Connection = self._local.db
        return db

    def reap(self) -> int:
        """Settle the running answers of processes that are gone. Returns how many there were."""
        dead = [lease for lease in self.read(turns.leases).result() if lease != self.lease and self._gone(lease)]
        return self.write(turns.abandon, dead).result() if dead else 0

    def sweep(self) -> None:
        """Delete the files of attachments that are nobody's any more. Blocks."""
        if freed := self.read(attachments.freed).result():
            files.delete(self.attachments, freed)
            self.free(attachments.forget, freed).result()

    def expire(self) -> None:
        """Let go of attachments that no message has used for a day, and of uploads that came to nothing. Blocks."""
        self.write(attachments.release, conversations.now()).result()
        self.sweep()
        if not any(self.folder.glob("damaged-*.db")):  # that one may still name them
            strays = files.old(self.attachments)
            files.delete(self.attachments, strays - self.read(attachments.files_of).result())

    def _gone(self, lease: str) -> bool:
        lock = FileLock(self.folder / f"{lease}.lock")
        try:
            with lock.acquire(timeout=0):
                Path(lock.lock_file).unlink()
        except Timeout:
            return False
        return True

    def _migrate(self, db: sqlite3.Connection) -> None:
        """Copy the file, then change it; a blank one needs no copy."""
        found = schema.version(db)
        if 0 < found < len(schema.STEPS):
            copy(db, self.folder / f"before-{found + 1}.db")
        schema.migrate(db)

    def _check(self) -> None:
        """The file at the path is still the one that was opened: no other is written to, and none is made anew."""
        if _identity(self.path) != self._identity:
            raise HistoryDamaged(f"{self.path} was replaced or deleted while the server ran: bring it back or restart.")


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode, with everything set that keeps what was acknowledged."""
    db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
        db.execute(f"PRAGMA {pragma}")
    return db


def _truncate(path: Path) -> None:
    with closing(connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def copy(db: sqlite3.Connection, target: Path, attachments: Path | None = None) -> None:
    """A whole, consistent copy, also while others write; the files in `attachments` are put into it."""
    with atomic.replacing(target, mode=0o600) as part, closing(sqlite3.connect(part)) as into:
        db.backup(into)
        into.execute("PRAGMA journal_mode = DELETE")  # one file, with nothing beside it
        if attachments is not None:
            files.enclose(into, attachments)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def export_copy(db: sqlite3.Connection, target: Path, attachments: Path) -> Path:
    """The `backup` command's work, as a function for `History.read`."""
    copy(db, target, attachments)
    return target
