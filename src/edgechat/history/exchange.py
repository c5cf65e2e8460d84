"""Conversations as a file: ours, which comes back identical, and Markdown, which people read."""

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec
from msgspec.structs import replace

from edgechat.history import attachments, conversations, files, turns
from edgechat.history.files import Kept
from edgechat.history.records import Conversation, Node
from edgechat.history.store import History
from edgechat.types import Struct

FORMAT: Literal["edgechat"] = "edgechat"
VERSION = 3  # 1 knew no attachments, 2 no settings of a conversation
WHO = {"user": "User", "assistant": "Assistant", "system": "System", "tool": "Tool"}


class Enclosed(Struct, frozen=True):
    """The bytes of an attachment: base64, in the file."""

    sha256: str
    bytes: bytes


class File(Struct, frozen=True):
    """What an export is. `exported` is ISO 8601, UTC."""

    format: Literal["edgechat"]
    version: int
    exported: str
    conversations: tuple[Conversation, ...]
    attachments: tuple[Enclosed, ...] = ()


def chosen(db: sqlite3.Connection, owner: str, id: str | None = None) -> list[Conversation]:
    """One conversation, or all that are not deleted, in the order of the list. Raises NotFound."""
    if id is not None:
        return [conversations.get(db, owner, id)]
    sql = "SELECT id FROM conversation WHERE owner = ? AND deleted IS NULL ORDER BY pinned DESC, touched DESC"
    return [conversations.get(db, owner, found) for (found,) in db.execute(sql, (owner,)).fetchall()]


def as_json(history: History, owner: str, id: str | None = None) -> Iterator[bytes]:
    """One conversation, or all, as a file that intake.py reads, in pieces: attachments are read one by one. Blocks."""
    text, kept = history.read(_outline, owner, id).result()
    if not kept:
        return iter([text])
    return _enclosing(text, kept, history.attachments)


def _outline(db: sqlite3.Connection, owner: str, id: str | None) -> tuple[bytes, list[Kept]]:
    """The file without its attachments, and these. An answer under way has what it has."""
    found = tuple(replace(one, messages=tuple(map(settled, one.messages))) for one in chosen(db, owner, id))
    file = File(FORMAT, VERSION, datetime.now(UTC).isoformat(timespec="seconds"), found)
    hashes = {held.sha256: None for one in found for node in one.messages for held in node.attachments}
    kept = [attachments.find(db, owner, sha256) for sha256 in hashes]
    return msgspec.json.format(msgspec.json.encode(file), indent=1), kept


def _enclosing(text: bytes, kept: list[Kept], folder: Path) -> Iterator[bytes]:
    end = b"[]\n}"  # of an empty list of attachments
    assert text.endswith(end)
    before = text.removesuffix(end) + b"["
    for one in kept:
        enclosed = Enclosed(one.attachment.sha256, files.read(folder, one))
        yield before + b"\n  " + msgspec.json.encode(enclosed)
        before = b","
    yield b"\n ]\n}"


def settled(node: Node) -> Node:
    """`node` as it stays if nobody goes on with it."""
    if node.status != "running":
        return node
    return replace(node, status="interrupted", error=turns.LOST, run_id=None)


def as_markdown(db: sqlite3.Connection, owner: str, id: str | None = None) -> bytes:
    """One conversation, or all, to read: of each the branch that was written to last."""
    return "\n\n---\n\n".join(map(_page, chosen(db, owner, id))).encode() + b"\n"


def _page(conversation: Conversation) -> str:
    day = datetime.fromtimestamp(conversation.created / 1000, UTC).strftime("%Y-%m-%d")
    parts = [f"# {conversation.title}", day, *map(_entry, latest_branch(conversation))]
    return "\n\n".join(parts)


def _entry(node: Node) -> str:
    who = WHO[node.role] + (f" · {node.model}" if node.model else "")
    note = "" if node.status == "complete" else f" ({node.status})"
    held = "".join(f"[{one.name or one.media_type} {one.sha256[:12]}]\n\n" for one in node.attachments)
    return f"**{who}**{note}\n\n{held}{node.content}".rstrip()


def latest_branch(conversation: Conversation) -> list[Node]:
    """The messages from the root to the newest one."""
    nodes = {node.id: node for node in conversation.messages}
    branch: list[Node] = []
    at = conversation.messages[-1] if conversation.messages else None
    while at is not None:
        branch.append(at)
        at = nodes.get(at.parent_id or "")
    return branch[::-1]
