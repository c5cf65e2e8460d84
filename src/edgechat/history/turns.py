"""One turn: the question and the empty answer, stored together; the answer's checkpoints; its end.

begin ─► running ─► complete · stopped · error        set by the run that produces it, once
           ▲ └────► interrupted                       its process is gone: `abandon`, with the text so far
           └──────── whichever of them                a turn that `continues` it: another run, the same message
"""

import hashlib
import secrets
import sqlite3
from collections.abc import Collection, Sequence

import msgspec

from edgechat.errors import Interrupted, InvalidRequest, KeyReused, NotFound
from edgechat.history import attachments, conversations, search
from edgechat.history.records import Failure, Node, Outcome, Started, Status, Turn
from edgechat.types import Message, Role

NO_TURN = Turn()
LOST = Failure(Interrupted.code, "the server stopped before the answer was whole: ask again.", retryable=True)


def new_id(kind: str) -> str:
    """A name that nobody has and nobody guesses."""
    return f"{kind}-{secrets.token_hex(8)}"


def begin(db: sqlite3.Connection, owner: str, turn: Turn, lease: str, key: str | None = None) -> tuple[Started, bool]:
    """Store the turn. The flag tells whether it is new: a `key` that was seen with the same turn gives the same answer.

    Raises NotFound, InvalidRequest, KeyReused.
    """
    digest = hashlib.sha256(msgspec.json.encode(turn, order="deterministic")).hexdigest()
    if key is not None and (known := _known(db, owner, key, digest)):
        return known, False
    full = conversations.completed(db, owner, turn)
    conversation_id = turn.conversation_id or _create(db, owner, turn)
    _check_alive(db, owner, conversation_id)
    if turn.continues:
        message_id, answer_id = _reopen(db, conversation_id, turn.continues, lease), turn.continues
    else:
        parent = _parent(db, conversation_id, turn)
        if turn.content is None:
            assert parent is not None
            message_id = parent
        else:
            held = turn.attachments or ()
            message_id = _add(db, conversation_id, parent, "user", turn.content, "complete", holds=held)
        answer_id = _add(db, conversation_id, message_id, "assistant", "", "running", full)
    started = Started(new_id("r"), conversation_id, message_id, answer_id)
    db.execute(
        "INSERT INTO run VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (started.run_id, owner, conversation_id, message_id, answer_id, lease, key, digest if key else None),
    )
    conversations.touch(db, conversation_id)
    return started, True


def _known(db: sqlite3.Connection, owner: str, key: str, digest: str) -> Started | None:
    sql = "SELECT digest, id, conversation_id, message_id, answer_id FROM run WHERE owner = ? AND key = ?"
    row = db.execute(sql, (owner, key)).fetchone()
    if row is None:
        return None
    if row[0] != digest:
        raise KeyReused("this Idempotency-Key came with another body before: take a new one.", "Idempotency-Key")
    return Started(*row[1:])


def _create(db: sqlite3.Connection, owner: str, turn: Turn) -> str:
    content = turn.content
    if content is None:
        raise InvalidRequest("content is missing: a new conversation begins with a message.", "content")
    id, now = new_id("c"), conversations.now()
    title = conversations.one_line(conversations.plain(content)) or "…"
    insert = """INSERT INTO conversation (id, owner, title, titled, version, touched, created, updated)
                VALUES (?, ?, ?, 'text', 0, ?, ?, ?)"""
    rowid = db.execute(insert, (id, owner, title, conversations.next_touch(db), now, now)).lastrowid
    assert rowid is not None
    search.put(db, -rowid, title)
    if turn.settings:
        conversations.put_settings(db, id, turn.settings)
    return id


def _check_alive(db: sqlite3.Connection, owner: str, conversation_id: str) -> None:
    alive = "SELECT 1 FROM conversation WHERE id = ? AND owner = ? AND deleted IS NULL"
    if not db.execute(alive, (conversation_id, owner)).fetchone():
        raise NotFound(f"there is no conversation {conversation_id!r}.", "conversation_id")


def _reopen(db: sqlite3.Connection, conversation_id: str, answer_id: str, lease: str) -> str:
    """Let an answer run again, with the text that it has; the id of its question."""
    row = db.execute(
        """SELECT parent_id, status, EXISTS (SELECT 1 FROM message n WHERE n.parent_id = m.id AND n.deleted IS NULL)
           FROM message m WHERE id = ? AND conversation_id = ? AND role = 'assistant' AND deleted IS NULL""",
        (answer_id, conversation_id),
    ).fetchone()
    if row is None:
        raise NotFound(f"there is no answer {answer_id!r} in this conversation.", "continues")
    question_id, status, is_followed = row
    if status == "running":
        raise InvalidRequest("this answer is being written already.", "continues")
    if is_followed or question_id is None:
        raise InvalidRequest("only an answer at the end of its conversation is gone on with.", "continues")
    db.execute("UPDATE message SET status = 'running' WHERE id = ?", (answer_id,))  # how it ended stays until it ends
    db.execute("UPDATE run SET lease = ? WHERE answer_id = ?", (lease, answer_id))  # none of them is a dead process's
    return str(question_id)


def _parent(db: sqlite3.Connection, conversation_id: str, turn: Turn) -> str | None:
    """What the turn hangs on, checked: a message of this conversation, of the other role."""
    if turn.after_latest:
        latest = """SELECT id FROM message WHERE conversation_id = ? AND role IN (?, 'system') AND deleted IS NULL
                    ORDER BY seq DESC LIMIT 1"""
        role = "assistant" if turn.content is not None else "user"
        row = db.execute(latest, (conversation_id, role)).fetchone()
        parent: str | None = row[0] if row else None
    else:
        parent = turn.parent_id
    if parent is None:
        if turn.content is None:
            raise InvalidRequest("parent_id is missing: which message is to be answered again?", "parent_id")
        return None
    row = db.execute(
        "SELECT role FROM message WHERE id = ? AND conversation_id = ? AND deleted IS NULL", (parent, conversation_id)
    ).fetchone()
    if row is None:
        raise NotFound(f"there is no message {parent!r} in this conversation.", "parent_id")
    if (row[0] == "user") != (turn.content is None):
        raise InvalidRequest("a message follows an answer, and an answer a message.", "parent_id")
    return parent


def _add(
    db: sqlite3.Connection,
    conversation_id: str,
    parent: str | None,
    role: Role,
    content: str,
    status: Status,
    turn: Turn = NO_TURN,
    holds: Sequence[str] = (),
) -> str:
    """A new message at the end of the conversation's sequence."""
    sql = "SELECT COALESCE(MAX(seq), 0) + 1 FROM message WHERE conversation_id = ?"
    (seq,) = db.execute(sql, (conversation_id,)).fetchone()
    id, now = new_id("m"), conversations.now()
    node = Node(id, seq, parent, role, content, status, now, model=turn.model, params=turn.params or None)
    key = put(db, conversation_id, node)
    words = [content] if content else []
    if holds:
        (owner,) = db.execute("SELECT owner FROM conversation WHERE id = ?", (conversation_id,)).fetchone()
        words += attachments.attach(db, owner, key, holds)
    if words:
        search.put(db, key, "\n".join(words))
    return id


def put(db: sqlite3.Connection, conversation_id: str, node: Node) -> int:
    """Insert a message as it is. Returns its key."""
    cursor = db.execute(
        """INSERT INTO message (conversation_id, id, seq, parent_id, role, content, status, created, reasoning, model,
                                finish_reason, usage, params, error)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            conversation_id,
            *(node.id, node.seq, node.parent_id, node.role, node.content, node.status, node.created),
            *(node.reasoning, node.model, node.finish_reason),
            *(_json(node.usage), _json(node.params), _json(node.error)),
        ),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _json(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


# ── while it runs ──


def path(db: sqlite3.Connection, message_id: str) -> list[Message]:
    """The branch from the root to `message_id`, as the model reads it. Empty answers were never said."""
    rows = db.execute(
        f"""WITH RECURSIVE branch (id, depth) AS (
                SELECT ?, 0 UNION ALL SELECT parent_id, depth + 1 FROM message JOIN branch USING (id)
            ) SELECT role, content, {attachments.OF_MESSAGE} FROM message m JOIN branch USING (id)
            ORDER BY depth DESC""",  # noqa: S608 - only our own words
        (message_id,),
    )
    return [
        Message(role, (*attachments.plain(attachments.parsed(held)), *([text] if text else ())))
        for role, text, held in rows
        if text or held != "[]"
    ]


def checkpoint(db: sqlite3.Connection, answer_id: str, content: str, reasoning: str, model: str) -> None:
    """Keep what is there of a running answer, and who gives it."""
    sql = "UPDATE message SET content = ?, reasoning = ?, model = ? WHERE id = ? AND status = 'running'"
    db.execute(sql, (content, reasoning, model, answer_id))


def finish(db: sqlite3.Connection, answer_id: str, outcome: Outcome) -> bool:
    """Keep the whole answer and how it ended. False: it has ended before, or its conversation is gone."""
    row = db.execute(
        """UPDATE message SET status = ?, content = ?, reasoning = ?, model = COALESCE(?, model), finish_reason = ?,
                  usage = ?, error = ? WHERE id = ? AND status = 'running' RETURNING key, conversation_id""",
        (
            outcome.status,
            outcome.content,
            outcome.reasoning,
            outcome.model,
            outcome.finish_reason,
            _json(outcome.usage),
            _json(outcome.error),
            answer_id,
        ),
    ).fetchone()
    if row is None:
        return False
    key, conversation_id = row
    if outcome.content:
        search.put(db, key, outcome.content)
    conversations.touch(db, conversation_id)
    return True


def leases(db: sqlite3.Connection) -> set[str]:
    """The processes that running answers belong to."""
    sql = "SELECT DISTINCT lease FROM run JOIN message ON message.id = answer_id WHERE status = 'running'"
    return {lease for (lease,) in db.execute(sql)}


def abandon(db: sqlite3.Connection, dead: Collection[str]) -> int:
    """The running answers of those processes will never be whole. Returns how many there were."""
    count = 0
    running = """SELECT answer_id, content, reasoning FROM run JOIN message ON message.id = answer_id
                 WHERE status = 'running' AND lease = ?"""
    for lease in dead:
        for answer_id, content, reasoning in db.execute(running, (lease,)).fetchall():
            count += finish(db, answer_id, Outcome("interrupted", content, reasoning, error=LOST))
    return count


def answer_of(db: sqlite3.Connection, owner: str, run_id: str) -> Node:
    """The answer that a run produces or produced. Raises NotFound."""
    row = db.execute(
        f"""SELECT m.id, seq, parent_id, role, content, status, created, reasoning, model, finish_reason, usage, params,
                   error, run.id, {attachments.OF_MESSAGE} FROM run JOIN message m ON m.id = answer_id
            WHERE run.id = ? AND run.owner = ? AND deleted IS NULL""",  # noqa: S608 - only our own words
        (run_id, owner),
    ).fetchone()
    if row is None:
        raise NotFound(f"there is no run {run_id!r}.")
    return conversations.node(row)
