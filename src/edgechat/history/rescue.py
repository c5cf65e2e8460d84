"""Disaster recovery: a new file with what can be read of a damaged one, or with a backup. Nothing old is deleted."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from edgechat.errors import ConfigError
from edgechat.history import files, inspection, search
from edgechat.history.store import History, copy

TABLES = ("conversation", "message", "run", "document", "attachment", "attached")
# What lost its place gets one: a message without its conversation a new one, one without its parent the beginning.
MEND = (
    """INSERT INTO conversation (id, owner, title, titled, touched, created, updated)
       SELECT conversation_id, COALESCE((SELECT owner FROM run WHERE run.conversation_id = m.conversation_id), ''),
              'Recovered', 'user', MIN(key), MIN(created), MAX(created)
       FROM message m WHERE conversation_id NOT IN (SELECT id FROM conversation) GROUP BY conversation_id""",
    "UPDATE message SET parent_id = NULL WHERE parent_id NOT IN (SELECT id FROM message)",
    "UPDATE message SET status = 'interrupted' WHERE status = 'running'",
    """DELETE FROM attached WHERE message NOT IN (SELECT key FROM message)
       OR attachment NOT IN (SELECT key FROM attachment)""",
    # What lost its message is not swept at once.
    """UPDATE attachment SET expires = (strftime('%s', 'now') + 30 * 86400) * 1000
       WHERE key NOT IN (SELECT attachment FROM attached)""",
    """DELETE FROM run WHERE answer_id NOT IN (SELECT id FROM message)
       OR message_id NOT IN (SELECT id FROM message) OR conversation_id NOT IN (SELECT id FROM conversation)""",
)
GIVE_UP = 1 << 40  # rows that were stepped over in vain


class Saved(NamedTuple):
    """What is there now, and where the old file is."""

    conversations: int
    messages: int
    kept: Path | None


def recover(history: History, source: Path | None = None) -> Saved:
    """Put a new file in the place of a damaged one: from `source`, a backup, or from what the old one still gives.

    Raises ConfigError while a server runs, and where `source` is no backup.
    """
    history.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    history.claim()
    try:
        return _recover(history, source)
    finally:
        history.close()


def _recover(history: History, source: Path | None) -> Saved:
    path, fresh = history.path, history.path.with_name("recovered.db")
    fresh.unlink(missing_ok=True)
    if source is not None:
        if not source.exists():
            raise ConfigError(f"{source} is not there.")
        inspection.examine(source)
        with closing(sqlite3.connect(source)) as db:
            copy(db, fresh)
        with closing(sqlite3.connect(fresh)) as db:
            files.unpack(db, history.attachments)
    else:
        inspection.create(fresh)
        if path.exists():
            _salvage(path, fresh)
    kept = _set_aside(path)
    fresh.replace(path)
    with closing(sqlite3.connect(path)) as db:
        counts = [db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in TABLES[:2]]  # noqa: S608
    return Saved(counts[0], counts[1], kept)


def _set_aside(path: Path) -> Path | None:
    """Move the file and what belongs to it out of the way; returns where to."""
    kept = path.with_name(f"damaged-{time.strftime('%Y%m%d-%H%M%S')}.db")
    for tail in ("-wal", "-shm", ""):
        with suppress(FileNotFoundError):
            path.with_name(path.name + tail).rename(kept.with_name(kept.name + tail))
    return kept if kept.exists() else None


def _salvage(damaged: Path, fresh: Path) -> None:
    """Every row that can still be read, and an index of the words in them."""
    with closing(sqlite3.connect(fresh, isolation_level=None)) as into, closing(sqlite3.connect(damaged)) as db:
        into.execute("BEGIN")
        for table in TABLES:
            columns = _columns(db, into, table)
            marks = ", ".join("?" * len(columns))
            for row in _rows(db, table, columns):
                with suppress(sqlite3.Error):
                    into.execute(f"INSERT INTO {table} (rowid, {', '.join(columns)}) VALUES (?, {marks})", row)  # noqa: S608
        for statement in MEND:
            into.execute(statement)
        search.put_all(into)
        into.execute("COMMIT")


def _columns(damaged: sqlite3.Connection, fresh: sqlite3.Connection, table: str) -> list[str]:
    """Those of a table; without the newer ones where the damaged file is of an older schema."""
    there = {row[1] for row in fresh.execute(f"PRAGMA table_info({table})")}
    with suppress(sqlite3.Error):
        there &= {row[1] for row in damaged.execute(f"PRAGMA table_info({table})")} or there
    return sorted(there)


def _rows(db: sqlite3.Connection, table: str, columns: list[str]) -> Iterator[tuple[object, ...]]:
    """The rows by rowid; where one cannot be read, on behind it, in growing steps until something can."""
    listed, at, step = ", ".join(columns), -1, 1
    while step < GIVE_UP:
        try:
            for row in db.execute(f"SELECT rowid, {listed} FROM {table} WHERE rowid > ? ORDER BY rowid", (at,)):  # noqa: S608
                at, step = row[0], 1
                yield row
            return
        except sqlite3.Error:
            at, step = at + step, 2 * step
