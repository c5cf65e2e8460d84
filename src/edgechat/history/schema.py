"""Schema migrations: the tables, as numbered steps from a blank file. A step that was released is never edited; the
next one follows it.

Each step is one transaction that ends with the new `user_version`: a kill in the middle leaves the old schema, whole.
"""

import sqlite3
from collections.abc import Callable

from edgechat.history import search

APPLICATION_ID = 0x45444745  # "EDGE", in the file's header: whose file it is

Step = Callable[[sqlite3.Connection], None]


_FIRST = (
    f"PRAGMA application_id = {APPLICATION_ID}",
    # `titled` tells who found the title: cut from the text, the model, or the user, whom nobody overrules.
    # `touched` orders the list by a count, because clocks jump.
    """CREATE TABLE conversation (
        id       TEXT PRIMARY KEY NOT NULL,
        owner    TEXT NOT NULL,
        title    TEXT NOT NULL,
        titled   TEXT NOT NULL CHECK (titled IN ('text', 'model', 'user')),
        pinned   INTEGER NOT NULL DEFAULT 0,
        version  INTEGER NOT NULL DEFAULT 1,
        touched  INTEGER NOT NULL,
        created  INTEGER NOT NULL,
        updated  INTEGER NOT NULL,
        deleted  INTEGER
    )""",
    "CREATE INDEX conversation_list ON conversation (owner, pinned, touched)",
    """CREATE TABLE message (
        key              INTEGER PRIMARY KEY,
        id               TEXT NOT NULL UNIQUE,
        conversation_id  TEXT NOT NULL REFERENCES conversation ON DELETE CASCADE,
        seq              INTEGER NOT NULL,
        parent_id        TEXT REFERENCES message (id) DEFERRABLE INITIALLY DEFERRED,
        role             TEXT NOT NULL CHECK (role IN ('system', 'user', 'assistant', 'tool')),
        content          TEXT NOT NULL,
        status           TEXT NOT NULL
                         CHECK (status IN ('running', 'complete', 'stopped', 'interrupted', 'error')),
        created          INTEGER NOT NULL,
        reasoning        TEXT NOT NULL DEFAULT '',
        model            TEXT,
        finish_reason    TEXT,
        usage            TEXT,
        params           TEXT,
        error            TEXT,
        UNIQUE (conversation_id, seq)
    )""",
    "CREATE INDEX message_parent ON message (parent_id)",
    "CREATE INDEX message_running ON message (status) WHERE status = 'running'",
    # `lease` names the process that produces the answer; `key` is the client's Idempotency-Key.
    """CREATE TABLE run (
        id               TEXT PRIMARY KEY NOT NULL,
        owner            TEXT NOT NULL,
        conversation_id  TEXT NOT NULL REFERENCES conversation ON DELETE CASCADE,
        message_id       TEXT NOT NULL REFERENCES message (id) ON DELETE CASCADE,
        answer_id        TEXT NOT NULL REFERENCES message (id) ON DELETE CASCADE,
        lease            TEXT NOT NULL,
        key              TEXT,
        digest           TEXT
    )""",
    "CREATE UNIQUE INDEX run_key ON run (owner, key) WHERE key IS NOT NULL",
    "CREATE INDEX run_answer ON run (answer_id)",
    "CREATE INDEX run_message ON run (message_id)",
    "CREATE INDEX run_conversation ON run (conversation_id)",
    """CREATE TABLE document (
        owner    TEXT NOT NULL,
        name     TEXT NOT NULL,
        version  INTEGER NOT NULL,
        body     TEXT NOT NULL,
        PRIMARY KEY (owner, name)
    )""",
    # A message's words under its key, a title's under minus its conversation's rowid: see search.py.
    "CREATE VIRTUAL TABLE words USING fts5 (body, tokenize = 'unicode61 remove_diacritics 2')",
)


def _1_conversations(db: sqlite3.Connection) -> None:
    for statement in _FIRST:
        db.execute(statement)


def _2_deleted_messages(db: sqlite3.Connection) -> None:
    db.execute("ALTER TABLE message ADD COLUMN deleted INTEGER")
    db.execute("CREATE INDEX message_deleted ON message (deleted) WHERE deleted IS NOT NULL")


_ATTACHMENTS = (
    # One realm's bytes in one file. Without an owner it is to be swept; `expires` is 0 once a message has used it.
    """CREATE TABLE attachment (
        key         INTEGER PRIMARY KEY,
        owner       TEXT,
        sha256      TEXT NOT NULL,
        kind        TEXT NOT NULL CHECK (kind IN ('picture', 'sound', 'document')),
        media_type  TEXT NOT NULL,
        size        INTEGER NOT NULL,
        file        TEXT NOT NULL UNIQUE,
        expires     INTEGER NOT NULL,
        UNIQUE (owner, sha256)
    )""",
    # What a message holds before its text.
    """CREATE TABLE attached (
        message     INTEGER NOT NULL REFERENCES message ON DELETE CASCADE,
        place       INTEGER NOT NULL,
        attachment  INTEGER NOT NULL REFERENCES attachment,
        PRIMARY KEY (message, place)
    )""",
    "CREATE INDEX attached_attachment ON attached (attachment)",
)


def _3_attachments(db: sqlite3.Connection) -> None:
    for statement in _ATTACHMENTS:
        db.execute(statement)


def _4_normal_words(db: sqlite3.Connection) -> None:
    """Hangul and the other forms of letters are found since: every text is put into the index again."""
    search.put_all(
        db, "SELECT key, content FROM message WHERE content <> '' UNION ALL SELECT -rowid, title FROM conversation"
    )


def _5_names(db: sqlite3.Connection) -> None:
    """What is attached may be called something, and is found by that."""
    db.execute("ALTER TABLE attachment ADD COLUMN name TEXT NOT NULL DEFAULT ''")


def _6_settings(db: sqlite3.Connection) -> None:
    """A conversation may have its own model, system prompt and sampling: records.Settings, as JSON."""
    db.execute("ALTER TABLE conversation ADD COLUMN settings TEXT")


def _7_folded_words(db: sqlite3.Connection) -> None:
    """Words within words of Arabic and Hebrew are found since, and letters without their marks: put in again."""
    search.put_all(db)


STEPS: tuple[Step, ...] = (
    _1_conversations,
    _2_deleted_messages,
    _3_attachments,
    _4_normal_words,
    _5_names,
    _6_settings,
    _7_folded_words,
)


def version(db: sqlite3.Connection) -> int:
    """How many steps the file has taken; 0 is a blank one."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def migrate(db: sqlite3.Connection) -> None:
    """Take the steps that are missing. `db` is in autocommit mode."""
    for number in range(version(db), len(STEPS)):
        db.execute("BEGIN IMMEDIATE")
        try:
            if version(db) == number:  # unless another process was faster
                STEPS[number](db)
                db.execute(f"PRAGMA user_version = {number + 1}")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
