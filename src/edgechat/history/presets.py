"""Small things that are kept whole under a name, such as a person's system prompts; replaced, never merged."""

import sqlite3
from typing import Any

import msgspec

from edgechat.errors import Stale
from edgechat.types import Struct


class Document(Struct, frozen=True):
    """`body` is any JSON value; version 0 was never written."""

    version: int
    body: Any


def get(db: sqlite3.Connection, owner: str, name: str, default: Any) -> Document:
    """The document, or `default` as version 0."""
    row = db.execute("SELECT version, body FROM document WHERE owner = ? AND name = ?", (owner, name)).fetchone()
    return Document(row[0], msgspec.json.decode(row[1])) if row else Document(0, default)


def put(db: sqlite3.Connection, owner: str, name: str, version: int, body: Any) -> Document:
    """Replace version `version`. Raises Stale where it is no longer the current one."""
    current = get(db, owner, name, body)
    if current.version != version:
        raise Stale(f"the {name} were changed elsewhere: look at them again.", "version", current)
    db.execute(
        "INSERT INTO document VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET version = ?3, body = ?4",
        (owner, name, version + 1, msgspec.json.encode(body).decode()),
    )
    return Document(version + 1, body)
