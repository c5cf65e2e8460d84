"""A single writer: the one thread that changes the file. Whoever wants something changed sends a function and gets a
future.

    submit ─► queue ─► BEGIN IMMEDIATE ─► savepoint, function, release ─► … ─► COMMIT ─► futures are told

All that waits is committed together, so that one flush of the disk serves many. A future is done after COMMIT, or has
the error that undid its function. After an error of the disk the connection is made anew; several in a row and writing
rests for a while, so that a dying disk is not worn out and nobody waits for it.
"""

import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, NamedTuple

import structlog

from edgechat.errors import EdgechatError, HistoryDamaged, NoSpace, ServiceError, StorageError

Work = Callable[[sqlite3.Connection], Any]
BATCH = 64  # functions in one transaction
FAULTS = 3  # errors of the disk in a row, then writing rests
REST_S = 10.0
RESERVE = 256 << 10  # bytes: enough to note a few deletions

log = structlog.get_logger("history")


class Job(NamedTuple):
    """A function to run, and who waits for it."""

    work: Work
    future: "Future[Any]"
    frees: bool = False  # makes room, and may use the reserve for it


class Writer:
    """Runs functions in transactions, in order. `connect` opens the database; `check` raises where it is not ours.

    `reserve` is a file that is given up where a full disk does not even let somebody delete.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], check: Callable[[], None], reserve: Path) -> None:
        self._connect = connect
        self._check = check
        self._reserve = reserve
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._db: sqlite3.Connection | None = None
        self._faults = 0
        self._resume = 0.0
        self._thread = Thread(target=self._run, name="history", daemon=True)
        self._thread.start()

    def submit(self, work: Work, frees: bool = False) -> "Future[Any]":
        """Run `work` with the connection, inside a transaction. May be called from any thread."""
        future: Future[Any] = Future()
        self._jobs.put(Job(work, future, frees))
        return future

    def close(self) -> None:
        """Commit what was submitted, then end."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        self._refill()
        while batch := self._take():
            self._commit([job for job in batch if job.future.set_running_or_notify_cancel()])
        self._disconnect()

    def _take(self) -> list[Job]:
        """Everything that waits, at least one; none at the end."""
        jobs: list[Job] = []
        job = self._jobs.get()
        while job is not None:
            jobs.append(job)
            if len(jobs) == BATCH:
                return jobs
            try:
                job = self._jobs.get_nowait()
            except Empty:
                return jobs
        if jobs:
            self._jobs.put(None)  # the end comes again, after these
        return jobs

    def _commit(self, jobs: list[Job]) -> None:
        """One transaction for all; where it fails, one for each, so that nobody fails for another's sake."""
        try:
            outcomes = self._transact(jobs)
        except Exception as error:  # a bug fails its own job, never the thread
            full = isinstance(error, NoSpace)
            if full and jobs[0].frees and len(jobs) == 1 and self._reserve.exists():
                self._reserve.unlink(missing_ok=True)
                self._commit(jobs)
            elif len(jobs) > 1 and time.monotonic() >= self._resume:
                for job in jobs:
                    self._commit([job])
            else:
                for job in jobs:
                    job.future.set_exception(error)
            return
        for job, (value, refusal) in zip(jobs, outcomes, strict=True):
            if refusal is None:
                job.future.set_result(value)
            else:
                job.future.set_exception(refusal)

    def _transact(self, jobs: list[Job]) -> list[tuple[Any, Exception | None]]:
        if time.monotonic() < self._resume:
            raise StorageError("the disk failed several times in a row: nothing is saved for some seconds.")
        self._check()
        try:
            db = self._db = self._db or self._connect()
            db.execute("BEGIN IMMEDIATE")
            outcomes = [_attempt(db, job.work) for job in jobs]
            db.execute("COMMIT")
        except sqlite3.Error as error:
            translated = translate(error)
            log.error("not saved", why=str(translated), code=error.sqlite_errorname)
            self._recover(translated)
            raise translated from error
        self._faults = 0
        self._refill()
        return outcomes

    def _refill(self) -> None:
        """Set the reserve aside again, where there is room for it."""
        if self._reserve.exists():
            return
        try:
            self._reserve.write_bytes(bytes(RESERVE))
        except OSError:
            self._reserve.unlink(missing_ok=True)

    def _recover(self, error: EdgechatError) -> None:
        """Undo, and start with a new connection where the disk itself failed."""
        if self._db is not None and self._db.in_transaction:
            try:
                self._db.execute("ROLLBACK")
            except sqlite3.Error:
                self._disconnect()
        if type(error) is StorageError:
            self._disconnect()
            self._faults += 1
            if self._faults >= FAULTS:
                self._faults, self._resume = 0, time.monotonic() + REST_S

    def _disconnect(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def _attempt(db: sqlite3.Connection, work: Work) -> tuple[Any, Exception | None]:
    """Run `work`; what it refuses, or trips over by itself, undoes its own changes only."""
    db.execute("SAVEPOINT job")
    try:
        value = work(db)
    except sqlite3.Error as error:
        if not isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError | sqlite3.InterfaceError):
            raise
        refusal: Exception = error
    except Exception as error:
        refusal = error
    else:
        db.execute("RELEASE job")
        return value, None
    db.execute("ROLLBACK TO job")
    db.execute("RELEASE job")
    return None, refusal


def translate(error: sqlite3.Error) -> EdgechatError:
    """What SQLite says, for a reader."""
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF:
        case sqlite3.SQLITE_FULL:
            return NoSpace("the disk is full: nothing more is saved until there is space again.")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return StorageError(
                "the folder of the conversations cannot be written: check the disk and its permissions."
            )
        case sqlite3.SQLITE_IOERR:
            return StorageError("the disk reports an error: the last change was not saved.")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return HistoryDamaged(
                "the conversations' file is damaged: stop the server, then `edgechat history recover`."
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return ServiceError("another program holds the conversations' file: try again.")
        case _:
            return EdgechatError(f"the store failed inside ({error}); this is a bug.")
