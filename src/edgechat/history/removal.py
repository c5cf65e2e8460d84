"""Soft deletion of single messages: deleted with all that follows them, listed, brought back, destroyed at last."""

import sqlite3

from edgechat.errors import InvalidRequest, NotFound
from edgechat.history import attachments, conversations, search
from edgechat.history.records import Conversation, Piece, Removed

_DOOMED = """WITH RECURSIVE below (id) AS (
    SELECT ? UNION ALL SELECT m.id FROM message m JOIN below ON m.parent_id = below.id
) SELECT key, status FROM message JOIN below USING (id) WHERE deleted IS NULL"""
_ALIVE = "SELECT 1 FROM conversation WHERE id = ? AND owner = ? AND deleted IS NULL"


def delete(db: sqlite3.Connection, owner: str, conversation_id: str, id: str) -> Conversation:
    """Delete a message with all that hangs on it. The last answer to a question takes the question along.

    Raises NotFound, and InvalidRequest while one of them is being written.
    """
    top = _top(db, owner, conversation_id, id)
    rows = db.execute(_DOOMED, (top,)).fetchall()
    if any(status == "running" for _, status in rows):
        raise InvalidRequest("an answer is being written there: stop it first.", "message_id")
    # What one deletion takes away has one stamp, and `restore` brings back one stamp.
    last = "SELECT COALESCE(MAX(deleted), 0) + 1 FROM message WHERE conversation_id = ?"
    stamp = max(conversations.now(), db.execute(last, (conversation_id,)).fetchone()[0])
    db.executemany("UPDATE message SET deleted = ? WHERE key = ?", [(stamp, key) for key, _ in rows])
    return _changed(db, owner, conversation_id)


def restore(db: sqlite3.Connection, owner: str, conversation_id: str, id: str) -> Conversation:
    """Undo the deletion of a message. One that was not deleted stays as it is.

    Raises NotFound, also where what it hung on is deleted by now.
    """
    row = _find(db, owner, conversation_id, id)
    if row["deleted"] is None:
        return conversations.get(db, owner, conversation_id)
    stamp = (conversation_id, row["deleted"])
    orphan = """SELECT 1 FROM message WHERE conversation_id = ?1 AND deleted = ?2 AND parent_id IN
                (SELECT id FROM message WHERE deleted IS NOT NULL AND deleted <> ?2)"""
    if db.execute(orphan, stamp).fetchone():
        raise NotFound(f"what message {id!r} followed is deleted too.", "message_id")
    db.execute("UPDATE message SET deleted = NULL WHERE conversation_id = ? AND deleted = ?", stamp)
    return _changed(db, owner, conversation_id)


def page(db: sqlite3.Connection, owner: str, limit: int) -> list[Removed]:
    """What deletions took away and `restore` brings back, by its first message: the newest deletions."""
    rows = db.execute(
        """SELECT m.id, c.id, c.title, m.content, m.deleted
           FROM message m JOIN conversation c ON c.id = m.conversation_id
           WHERE m.deleted IS NOT NULL AND c.deleted IS NULL AND c.owner = ?
           AND NOT EXISTS (SELECT 1 FROM message above WHERE above.id = m.parent_id AND above.deleted IS NOT NULL)
           ORDER BY m.deleted DESC LIMIT ?""",
        (owner, limit),
    )
    return [
        Removed(id, conversation_id, title, (Piece(conversations.one_line(content)),), deleted)
        for id, conversation_id, title, content, deleted in rows
    ]


def purge_old(db: sqlite3.Connection, before: int) -> list[str]:
    """Destroy what was deleted before that time, whoever's it was. Returns the ids of the conversations."""
    rows = db.execute("SELECT key, conversation_id FROM message WHERE deleted < ?", (before,)).fetchall()
    if rows:
        db.execute("DELETE FROM message WHERE deleted < ?", (before,))
        search.drop(db, [key for key, _ in rows])
        attachments.release(db, conversations.now())
    return sorted({id for _, id in rows})


def _top(db: sqlite3.Connection, owner: str, conversation_id: str, id: str) -> str:
    """The message to begin with: `id`, or the question that would have no answer without it."""
    row = _find(db, owner, conversation_id, id)
    if row["deleted"] is not None:
        raise NotFound(f"there is no message {id!r} in this conversation.", "message_id")
    others = "SELECT 1 FROM message WHERE parent_id = ? AND id <> ? AND deleted IS NULL"
    parent = row["parent_id"]
    if row["role"] != "assistant" or parent is None or db.execute(others, (parent, id)).fetchone():
        return id
    return str(parent)


def _find(db: sqlite3.Connection, owner: str, conversation_id: str, id: str) -> sqlite3.Row:
    if not db.execute(_ALIVE, (conversation_id, owner)).fetchone():
        raise NotFound(f"there is no conversation {conversation_id!r}.")
    cursor = db.execute(
        "SELECT role, parent_id, deleted FROM message WHERE id = ? AND conversation_id = ?", (id, conversation_id)
    )
    cursor.row_factory = sqlite3.Row
    row: sqlite3.Row | None = cursor.fetchone()
    if row is None:
        raise NotFound(f"there is no message {id!r} in this conversation.", "message_id")
    return row


def _changed(db: sqlite3.Connection, owner: str, conversation_id: str) -> Conversation:
    sql = "UPDATE conversation SET version = version + 1, updated = ? WHERE id = ?"
    db.execute(sql, (conversations.now(), conversation_id))
    return conversations.get(db, owner, conversation_id)
