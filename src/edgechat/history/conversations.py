"""Conversations as a whole: list, search, read, rename, pin, delete, undo, purge."""

import re
import sqlite3
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from edgechat.errors import InvalidRequest, NotFound, Stale
from edgechat.history import attachments, search
from edgechat.history.records import TITLE_CHARS, Conversation, Failure, Head, Heads, Node, Settings, Turn

PAGE = 50
_HEAD = "id, title, version, pinned, created, updated, deleted"


def now() -> int:
    """The wall clock in milliseconds: for people, never for order."""
    return time.time_ns() // 1_000_000


def next_touch(db: sqlite3.Connection) -> int:
    """The next place in the order of last changes."""
    return int(db.execute("SELECT COALESCE(MAX(touched), 0) + 1 FROM conversation").fetchone()[0])


def touch(db: sqlite3.Connection, id: str) -> None:
    """The conversation has changed: a new version, first in the list."""
    db.execute(
        "UPDATE conversation SET version = version + 1, touched = ?, updated = ? WHERE id = ?",
        (next_touch(db), now(), id),
    )


def one_line(text: str) -> str:
    """`text` as a title: one line, not too long."""
    line = " ".join(text.replace("\0", " ").split())
    return line if len(line) <= TITLE_CHARS else line[: TITLE_CHARS - 1].rstrip() + "…"


def plain(text: str) -> str:
    """`text` without what Markdown marks headings, lists, quotes, emphasis and code with, for its title."""
    return re.sub(r"^ {0,3}(?:#{1,6}|>|[-*+])[ \t]+|\*\*|`+", "", text, flags=re.MULTILINE)


# ── reading ──


def page(
    db: sqlite3.Connection,
    owner: str,
    cursor: str | None = None,
    query: str = "",
    deleted: bool = False,
    limit: int = PAGE,
) -> Heads:
    """Pinned ones first, then by last change. With `query` those that have all of its words in one message or title."""
    where, values = f"owner = ? AND deleted IS {'NOT' if deleted else ''} NULL", list[Any]([owner])
    found = ""
    if query.strip():
        match, wanted = _matching(query)
        found = f"JOIN ({match}) USING (id)"
        values = [*wanted, *values]
    if cursor:
        where += " AND (pinned, touched) < (?, ?)"
        values += _place(cursor)
    columns = f"{_HEAD}, {'hit' if found else 'NULL'}, touched"
    order = "ORDER BY pinned DESC, touched DESC LIMIT ?"
    sql = f"SELECT {columns} FROM conversation {found} WHERE {where} {order}"  # noqa: S608 - only our own words
    rows = db.execute(sql, [*values, limit + 1]).fetchall()
    heads = tuple(_head(row, query) for row in rows[:limit])
    last = rows[limit - 1] if len(rows) > limit else None
    return Heads(heads, f"{last[3]}.{last[8]}" if last else None)


def _matching(query: str) -> tuple[str, list[Any]]:
    """A query for conversations' ids and the newest text in each that has what is wanted, and its parameters."""
    words = search.expression(query)
    if words:
        messages = "SELECT key FROM words JOIN message ON key = words.rowid WHERE body MATCH ? AND deleted IS NULL"
        titles = "SELECT -words.rowid FROM words WHERE words.rowid < 0 AND body MATCH ?"
        values: list[Any] = [words, words]
    else:  # punctuation and pictures are no words: look at every text
        like = "%" + query.strip().replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") + "%"
        messages = r"SELECT key FROM message WHERE content LIKE ? ESCAPE '\' AND deleted IS NULL"
        titles = r"SELECT rowid FROM conversation WHERE title LIKE ? ESCAPE '\'"
        values = [like, like]
    return (
        f"SELECT id, hit FROM (SELECT conversation_id AS id, {search.WORDS} AS hit, MAX(key) FROM message"  # noqa: S608
        f" WHERE key IN ({messages}) GROUP BY conversation_id)"
        f" UNION ALL SELECT id, title FROM conversation WHERE rowid IN ({titles}) AND id NOT IN"
        f" (SELECT conversation_id FROM message WHERE key IN ({messages}))",
        [*values, values[0]],
    )


def _place(cursor: str) -> list[int]:
    pinned, dot, touched = cursor.partition(".")
    if not (dot and pinned in ("0", "1") and touched.isascii() and touched.isdecimal() and len(touched) < 19):
        raise InvalidRequest("cursor is not one that this server gave.", "cursor")
    return [int(pinned), int(touched)]


def _head(row: tuple[Any, ...], query: str) -> Head:
    id, title, version, pinned, created, updated, deleted, hit = row[:8]
    snippet = None if hit is None else search.excerpt(hit, query)
    return Head(id, title, version, bool(pinned), created, updated, deleted, snippet)


def get(db: sqlite3.Connection, owner: str, id: str) -> Conversation:
    """The conversation with its tree, also while it can still be undeleted. Raises NotFound."""
    sql = f"SELECT {_HEAD}, settings FROM conversation WHERE id = ? AND owner = ?"  # noqa: S608 - only our own words
    row = db.execute(sql, (id, owner)).fetchone()
    if row is None:
        raise NotFound(f"there is no conversation {id!r}.")
    *plain, settings = row
    head = msgspec.structs.asdict(_head((*plain, None), ""))
    return Conversation(**head, messages=tuple(nodes(db, id)), settings=_settings(settings))


def _settings(text: str | None) -> Settings | None:
    return None if text is None else msgspec.json.decode(text, type=Settings)


def completed(db: sqlite3.Connection, owner: str, turn: Turn) -> Turn:
    """`turn`, and where it leaves something open what its conversation has of its own."""
    if turn.settings:
        own: Settings | None = turn.settings
    else:
        sql = "SELECT settings FROM conversation WHERE id = ? AND owner = ?"
        row = db.execute(sql, (turn.conversation_id, owner)).fetchone()
        own = _settings(row[0]) if row else None
    if own is None:
        return turn
    return msgspec.structs.replace(turn, model=turn.model or own.model, params=own.params() | turn.params)


def ids_like(db: sqlite3.Connection, owner: str, start: str) -> list[str]:
    """The ids of at most two conversations that begin with `start`, and are not deleted."""
    sql = "SELECT id FROM conversation WHERE owner = ? AND substr(id, 1, ?) = ? AND deleted IS NULL LIMIT 2"
    return [id for (id,) in db.execute(sql, (owner, len(start), start))]


def nodes(db: sqlite3.Connection, conversation_id: str) -> list[Node]:
    """All messages that are not deleted, in sequence. An answer's run is named while it runs."""
    rows = db.execute(
        f"""SELECT m.id, seq, parent_id, role, content, status, created, reasoning, model, finish_reason, usage, params,
                   error, CASE status WHEN 'running'
                              THEN (SELECT id FROM run WHERE answer_id = m.id ORDER BY rowid DESC LIMIT 1) END,
                   {attachments.OF_MESSAGE}
            FROM message m WHERE m.conversation_id = ? AND m.deleted IS NULL ORDER BY seq""",  # noqa: S608 - only our own words
        (conversation_id,),
    )
    return [node(row) for row in rows]


def node(row: tuple[Any, ...]) -> Node:
    """A message from its columns, in the order of `Node`, save that four are JSON."""
    *plain, usage, params, error, run_id, attached = row
    failure = None if error is None else msgspec.json.decode(error, type=Failure)
    return Node(  # type: ignore[misc]
        *plain,
        usage=_value(usage),
        params=_value(params),
        error=failure,
        run_id=run_id,
        attachments=attachments.parsed(attached),
    )


def _value(text: str | None) -> dict[str, Any] | None:
    return None if text is None else msgspec.json.decode(text)


# ── changing ──


def change(
    db: sqlite3.Connection, owner: str, id: str, version: int | None, changes: Mapping[str, Any]
) -> Conversation:
    """Set `title`, `pinned`, `settings` or several of them.

    Raises NotFound, and Stale where `version` is given and not the current one.
    """
    current = get(db, owner, id)
    if current.deleted is not None:
        raise NotFound(f"there is no conversation {id!r}.")
    if version is not None and version != current.version:
        raise Stale("the conversation was changed elsewhere: look at it again.", "version", current)
    if "title" in changes:
        _rename(db, id, changes["title"], by="user")
    if "pinned" in changes:
        db.execute("UPDATE conversation SET pinned = ? WHERE id = ?", (int(changes["pinned"]), id))
    if "settings" in changes:
        put_settings(db, id, changes["settings"])
    db.execute("UPDATE conversation SET version = version + 1, updated = ? WHERE id = ?", (now(), id))
    return get(db, owner, id)


def put_settings(db: sqlite3.Connection, id: str, settings: Settings | None) -> None:
    """What the conversation has of its own from now on; nothing is the same as none."""
    text = None if settings in (None, Settings()) else msgspec.json.encode(settings).decode()
    db.execute("UPDATE conversation SET settings = ? WHERE id = ?", (text, id))


def wants_title(db: sqlite3.Connection, id: str) -> bool:
    """Whether nobody has found a title yet, and the conversation is young."""
    sql = (
        "SELECT titled = 'text' AND deleted IS NULL AND (SELECT COUNT(*) FROM message WHERE conversation_id = ?1) <= 6"
    )
    row = db.execute(f"{sql} FROM conversation WHERE id = ?1", (id,)).fetchone()
    return bool(row and row[0])


def entitle(db: sqlite3.Connection, owner: str, id: str, title: str) -> bool:
    """Take the model's title, unless somebody found one meanwhile."""
    row = db.execute("SELECT titled FROM conversation WHERE id = ? AND owner = ?", (id, owner)).fetchone()
    if row is None or row[0] != "text":
        return False
    _rename(db, id, title, by="model")
    db.execute("UPDATE conversation SET version = version + 1 WHERE id = ?", (id,))
    return True


def _rename(db: sqlite3.Connection, id: str, title: str, by: str) -> None:
    title = one_line(title)
    if not title:
        raise InvalidRequest("a title is not empty.", "title")
    key = db.execute("UPDATE conversation SET title = ?, titled = ? WHERE id = ? RETURNING rowid", (title, by, id))
    search.put(db, -key.fetchone()[0], title)


def delete(db: sqlite3.Connection, owner: str, id: str | None = None) -> int:
    """Delete one conversation, or all with None; `restore` takes it back. Returns how many. Raises NotFound."""
    which, values = ("id = ?", [id]) if id is not None else ("TRUE", [])
    sql = f"UPDATE conversation SET deleted = ?, version = version + 1 WHERE owner = ? AND deleted IS NULL AND {which}"  # noqa: S608
    count = db.execute(sql, [now(), owner, *values]).rowcount
    if not count and id is not None:
        raise NotFound(f"there is no conversation {id!r}.")
    return count


def restore(db: sqlite3.Connection, owner: str, id: str) -> Conversation:
    """Undo a deletion. One that was not deleted stays as it is. Raises NotFound."""
    sql = "UPDATE conversation SET deleted = NULL, version = version + 1 WHERE owner = ? AND id = ?"
    db.execute(f"{sql} AND deleted IS NOT NULL", (owner, id))
    return get(db, owner, id)


def purge(db: sqlite3.Connection, owner: str, id: str | None = None) -> list[str]:
    """Destroy one conversation, or all with None, for good. Returns their ids. Raises NotFound."""
    which, values = ("AND id = ?", [id]) if id is not None else ("", [])
    rows = db.execute(f"SELECT id, rowid FROM conversation WHERE owner = ? {which}", [owner, *values]).fetchall()  # noqa: S608
    if not rows and id is not None:
        raise NotFound(f"there is no conversation {id!r}.")
    _destroy(db, rows)
    return [row[0] for row in rows]


def hand_over(db: sqlite3.Connection, owner: str, to: str) -> int:
    """Make everything of `owner`, deleted conversations included, belong to `to`. Returns how many conversations."""
    count = db.execute("UPDATE conversation SET owner = ?, version = version + 1 WHERE owner = ?", (to, owner)).rowcount
    db.execute("UPDATE run SET owner = ?, key = NULL WHERE owner = ?", (to, owner))  # nobody retries those any more
    db.execute("UPDATE OR IGNORE document SET owner = ? WHERE owner = ?", (to, owner))
    attachments.hand_over(db, owner, to)
    return count


def purge_old(db: sqlite3.Connection, before: int) -> list[str]:
    """Destroy what was deleted before that time, whoever's it was. Returns the ids."""
    rows = db.execute("SELECT id, rowid FROM conversation WHERE deleted < ?", (before,)).fetchall()
    _destroy(db, rows)
    return [row[0] for row in rows]


def _destroy(db: sqlite3.Connection, rows: list[tuple[str, int]]) -> None:
    """Conversations with their messages, runs and words, and the attachments that nothing else uses."""
    for id, rowid in rows:
        keys = [key for (key,) in db.execute("SELECT key FROM message WHERE conversation_id = ?", (id,))]
        db.execute("DELETE FROM conversation WHERE id = ?", (id,))
        search.drop(db, [*keys, -rowid])
    attachments.release(db, now())
