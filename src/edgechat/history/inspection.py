"""An integrity check: is the file at the path one that we may open? Asked before SQLite touches it, because SQLite
repairs in silence.

A damaged, foreign or newer file is named and left exactly as it is; a missing or empty one is never replaced by a blank
one where there was one before.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from edgechat.errors import ConfigError, HistoryDamaged
from edgechat.history import schema
from edgechat.process import atomic

MAGIC = b"SQLite format 3\0"
_HINT = "It is kept as it is; `edgechat history recover` saves what can be read."


def examine(path: Path) -> None:
    """Raise where the file must not be opened: HistoryDamaged, or ConfigError for a file that is not for us."""
    if not path.exists():
        left = [name for name in (f"{path.name}-wal", f"{path.name}-journal") if path.with_name(name).exists()]
        if left:
            raise HistoryDamaged(f"{path} is gone, but {left[0]} is there. {_HINT}")
        create(path)
        return
    with path.open("rb") as file:
        head = file.read(100)
    if len(head) < 100 or not head.startswith(MAGIC):
        raise HistoryDamaged(f"{path} is not a database any more. {_HINT}")
    if int.from_bytes(head[68:72], "big") != schema.APPLICATION_ID:
        raise ConfigError(f"{path} belongs to another program: move it away, or take another --home.")
    try:
        _ask(path)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise
        raise HistoryDamaged(f"{path} is damaged ({error}). {_HINT}") from error


def _ask(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        found = schema.version(db)
        if found > len(schema.STEPS):
            raise ConfigError(f"{path} was written by a newer edgechat (schema {found}): run that one, or update this.")
        (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise HistoryDamaged(f"{path} is damaged ({verdict}). {_HINT}")


def create(path: Path) -> None:
    """A new file that appears whole, so that an empty one is always a damaged one."""
    with atomic.replacing(path) as part, closing(sqlite3.connect(part, isolation_level=None)) as db:
        schema.migrate(db)
