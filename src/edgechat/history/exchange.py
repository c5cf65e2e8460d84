"""Conversations as a file: ours, which comes back identical, and Markdown, which people read."""

import sqlite3
from datetime import UTC, datetime
from typing import Literal

import msgspec
from msgspec.structs import replace

from edgechat.history import conversations, turns
from edgechat.history.records import Conversation, Node
from edgechat.types import Struct

FORMAT: Literal["edgechat"] = "edgechat"
VERSION = 1
WHO = {"user": "User", "assistant": "Assistant", "system": "System", "tool": "Tool"}


class File(Struct, frozen=True):
    """What an export is. `exported` is ISO 8601, UTC."""

    format: Literal["edgechat"]
    version: int
    exported: str
    conversations: tuple[Conversation, ...]


def chosen(db: sqlite3.Connection, owner: str, id: str | None = None) -> list[Conversation]:
    """One conversation, or all that are not deleted, in the order of the list. Raises NotFound."""
    if id is not None:
        return [conversations.get(db, owner, id)]
    sql = "SELECT id FROM conversation WHERE owner = ? AND deleted IS NULL ORDER BY pinned DESC, touched DESC"
    return [conversations.get(db, owner, found) for (found,) in db.execute(sql, (owner,)).fetchall()]


def as_json(db: sqlite3.Connection, owner: str, id: str | None = None) -> bytes:
    """One conversation, or all, as a file that `take` reads. An answer under way has what it has."""
    kept = tuple(replace(one, messages=tuple(map(settled, one.messages))) for one in chosen(db, owner, id))
    file = File(FORMAT, VERSION, datetime.now(UTC).isoformat(timespec="seconds"), kept)
    return msgspec.json.format(msgspec.json.encode(file), indent=1)


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
    return f"**{who}**{note}\n\n{node.content}".rstrip()


def latest_branch(conversation: Conversation) -> list[Node]:
    """The messages from the root to the newest one."""
    nodes = {node.id: node for node in conversation.messages}
    branch: list[Node] = []
    at = conversation.messages[-1] if conversation.messages else None
    while at is not None:
        branch.append(at)
        at = nodes.get(at.parent_id or "")
    return branch[::-1]
