"""Attachments: the rows of what messages hold besides text, counted by reference. files.py has the bytes.

    put ──► attach: a message uses it … none does any more ──► release: the row is nobody's ──► sweep: the file goes
      └─ never used ──────────────────── a day later ─────────┘

Each realm has its own row and its own file, and the same bytes once: nobody finds out what others have.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from edgechat.errors import NoSpace, NotFound
from edgechat.history.files import Incoming, Kept
from edgechat.history.records import Held
from edgechat.types import Attachment

UNUSED_MS = 24 * 3_600_000  # how long what no message uses is kept
USED = 0  # `expires` of what was used by a message: it goes with the last one
# What the message `m` holds, in order; `parsed` reads the column.
OF_MESSAGE = """(SELECT json_group_array(
        json_object('sha256', sha256, 'kind', kind, 'media_type', media_type, 'name', name)) FROM
    (SELECT * FROM attached JOIN attachment ON attachment.key = attached.attachment
     WHERE attached.message = m.key ORDER BY place))"""


def parsed(column: str) -> tuple[Held, ...]:
    """The attachments in a column OF_MESSAGE."""
    return () if column == "[]" else msgspec.json.decode(column, type=tuple[Held, ...])


def plain(held: Sequence[Held]) -> tuple[Attachment, ...]:
    """The same as parts of a message: what they were called is not for the model."""
    return tuple(Attachment(one.sha256, one.kind, one.media_type) for one in held)


def put(db: sqlite3.Connection, owner: str, incoming: Incoming, most: int, now: int) -> Kept:
    """Make it `owner`'s until a day from `now`, in milliseconds. Raises NoSpace beyond `most` bytes of everybody's."""
    if not _row(db, owner, incoming.sha256):
        (taken,) = db.execute("SELECT COALESCE(SUM(size), 0) FROM attachment").fetchone()
        if taken + incoming.size > most:
            raise NoSpace(
                f"attachments may take {most} bytes, and take {taken}: delete conversations that have some, or raise "
                "attachment_bytes."
            )
    db.execute(
        """INSERT INTO attachment (owner, sha256, kind, media_type, size, file, expires, name)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (owner, sha256) DO UPDATE
           SET expires = excluded.expires, name = CASE excluded.name WHEN '' THEN name ELSE excluded.name END""",
        (
            *(owner, incoming.sha256, incoming.kind, incoming.media_type, incoming.size, incoming.file),
            *(now + UNUSED_MS, incoming.name),
        ),
    )
    return find(db, owner, incoming.sha256)


def find(db: sqlite3.Connection, owner: str, sha256: str) -> Kept:
    """The attachment, and where its bytes are. Raises NotFound."""
    row = _row(db, owner, sha256)
    if row is None:
        raise _none(sha256)
    kind, media_type, file = row
    return Kept(Attachment(sha256, kind, media_type), file)


def _row(db: sqlite3.Connection, owner: str, sha256: str) -> Any:
    sql = "SELECT kind, media_type, file FROM attachment WHERE owner = ? AND sha256 = ?"
    return db.execute(sql, (owner, sha256)).fetchone()


def _none(sha256: str) -> NotFound:
    return NotFound(f"there is no attachment {sha256!r}: upload it first.", "attachments")


def attach(db: sqlite3.Connection, owner: str, message_key: int, hashes: Sequence[str]) -> list[str]:
    """Let the message hold these, in this order. Returns what they are called, as far as they are. Raises NotFound."""
    names = []
    for place, sha256 in enumerate(hashes):
        used = "UPDATE attachment SET expires = ? WHERE owner = ? AND sha256 = ? RETURNING key, name"
        row = db.execute(used, (USED, owner, sha256)).fetchone()
        if row is None:
            raise _none(sha256)
        key, name = row
        db.execute("INSERT INTO attached (message, place, attachment) VALUES (?, ?, ?)", (message_key, place, key))
        names += [name] if name else []
    return names


def hand_over(db: sqlite3.Connection, owner: str, to: str) -> None:
    """Make all of `owner`'s belong to `to`; where both have the same bytes, messages use what `to` has."""
    db.execute(
        """UPDATE attached SET attachment = other.key FROM attachment AS mine JOIN attachment AS other USING (sha256)
           WHERE attached.attachment = mine.key AND mine.owner = ? AND other.owner = ?""",
        (owner, to),
    )
    db.execute("UPDATE OR IGNORE attachment SET owner = ? WHERE owner = ?", (to, owner))
    db.execute("UPDATE attachment SET owner = NULL WHERE owner = ?", (owner,))


def release(db: sqlite3.Connection, now: int) -> None:
    """Take from its owner what no message uses any more, or has not used for a day."""
    unused = "NOT EXISTS (SELECT 1 FROM attached WHERE attached.attachment = attachment.key)"
    db.execute(f"UPDATE attachment SET owner = NULL WHERE expires < ? AND {unused}", (now,))  # noqa: S608 - our own words


def freed(db: sqlite3.Connection) -> list[str]:
    """The files of what belongs to nobody."""
    return [file for (file,) in db.execute("SELECT file FROM attachment WHERE owner IS NULL")]


def forget(db: sqlite3.Connection, files: Sequence[str]) -> None:
    """These are gone."""
    db.executemany("DELETE FROM attachment WHERE owner IS NULL AND file = ?", [(file,) for file in files])


def files_of(db: sqlite3.Connection) -> set[str]:
    """Every file that a row names."""
    return {file for (file,) in db.execute("SELECT file FROM attachment")}
