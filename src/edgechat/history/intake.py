"""What others wrote, taken in: all of a file or nothing of it.

ours                     {"format": "edgechat", …}                      as exported: comes back identical
OpenAI-style messages    {"messages": [{"role", "content"}, …]}         or a list of such, or of messages
a ChatGPT export         [{"title", "mapping": {…}}, …]                 a tree, its branches kept
"""

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from edgechat.errors import EdgechatError, InvalidRequest
from edgechat.history import attachments, conversations, files, search, turns
from edgechat.history.exchange import FORMAT, VERSION, Enclosed, File, settled
from edgechat.history.files import Incoming, Kept
from edgechat.history.records import Conversation, Node
from edgechat.history.store import History
from edgechat.types import Struct

ROLES = ("system", "user", "assistant")


class Taken(Struct, frozen=True):
    """What became of a file. `skipped` were there already, word for word."""

    imported: int
    skipped: int
    conversation_ids: tuple[str, ...]


# ── reading: pure ──


def conversations_in(document: Any) -> list[Conversation]:
    """The conversations of a decoded file. Raises InvalidRequest, which says where it is not as it should be."""
    if isinstance(document, dict) and "format" in document:
        return _ours(document)
    items = document if isinstance(document, list) else [document]
    if items and all(isinstance(item, dict) and "role" in item for item in items):
        items = [{"messages": items}]
    if not items:
        raise InvalidRequest("the file holds no conversation.")
    return [_foreign(item, f"[{at}]" if isinstance(document, list) else "") for at, item in enumerate(items)]


def _ours(document: dict[str, Any]) -> list[Conversation]:
    if document["format"] != FORMAT or document.get("version") not in (1, VERSION):
        raise InvalidRequest(
            f"the file's format is {document['format']!r}, version {document.get('version')!r}; "
            f"this edgechat reads {FORMAT!r}, versions 1 and {VERSION}.",
            "version",
        )
    file: File = _as({**document, "attachments": ()}, File)
    for at, one in enumerate(file.conversations):
        _check(one, f"conversations[{at}]")
    return [replace(one, messages=tuple(map(settled, one.messages))) for one in file.conversations]


def _enclosed(document: Any) -> tuple[Enclosed, ...]:
    """The attachments of a decoded file."""
    ours = isinstance(document, dict) and "format" in document
    found: tuple[Enclosed, ...] = _as(document.get("attachments", ()), tuple[Enclosed, ...]) if ours else ()
    for at, one in enumerate(found):
        if hashlib.sha256(one.bytes).hexdigest() != one.sha256:
            raise InvalidRequest(f"attachments[{at}] is not what its sha256 says.", f"attachments[{at}]")
    return found


def _as(value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the file is not as an export is: {error}.") from None


def _check(one: Conversation, place: str) -> None:
    """Every message hangs on an earlier one; numbers are such that the store can hold them."""
    seen: set[str] = set()
    for at, node in enumerate(one.messages):
        where = f"{place}.messages[{at}]"
        if node.parent_id is not None and node.parent_id not in seen:
            raise InvalidRequest(f"{where}.parent_id names no message before it.", where)
        if node.id in seen:
            raise InvalidRequest(f"{where}.id was there before.", where)
        seen.add(node.id)
    for number in (one.created, one.updated, *(node.created for node in one.messages)):
        if not 0 <= number < 1 << 53:
            raise InvalidRequest(f"{place} has a time that is none.", place)


def _foreign(item: Any, place: str) -> Conversation:
    """A conversation in one of the other two shapes."""
    if isinstance(item, dict) and isinstance(item.get("mapping"), dict):
        nodes = list(_mapped(item["mapping"]))
    elif isinstance(item, dict) and isinstance(item.get("messages"), list):
        nodes = list(_listed(item["messages"], place))
    else:
        raise InvalidRequest(
            f"{place or 'the file'} is no conversation: neither an edgechat export nor messages nor a ChatGPT export.",
            place or None,
        )
    if not nodes:
        raise InvalidRequest(f"{place or 'the file'} has no message with text.", place or None)
    created = _milliseconds(item.get("create_time"))
    title = item["title"] if isinstance(item.get("title"), str) else ""
    title = conversations.one_line(title) or conversations.one_line(nodes[0].content) or "…"
    updated = _milliseconds(item.get("update_time"))
    return Conversation(turns.new_id("c"), title, 1, False, created, updated, messages=tuple(nodes))


def _listed(messages: list[Any], place: str) -> Iterator[Node]:
    """A straight line of messages."""
    parent = None
    for at, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        role = "system" if role == "developer" else role
        text = _text(message.get("content")) if role in ROLES else None
        if text is None:
            raise InvalidRequest(f"{place}messages[{at}] is no message with a known role and text.", f"messages[{at}]")
        node = _node(role, text, parent, at + 1, message.get("created"))
        parent = node.id
        yield node


def _mapped(mapping: dict[str, Any]) -> Iterator[Node]:
    """A tree by `parent` and `children`. What has no text is left out; what hung on it hangs on what it hung on."""
    seen: set[str] = set()
    roots = [id for id, entry in mapping.items() if isinstance(entry, dict) and entry.get("parent") not in mapping]
    waiting: list[tuple[str, str | None]] = [(id, None) for id in reversed(roots)]
    while waiting:
        id, parent = waiting.pop()
        entry = mapping.get(id)
        if id in seen or not isinstance(entry, dict):
            continue
        seen.add(id)
        message = entry.get("message")
        message = message if isinstance(message, dict) else {}
        author = message.get("author")
        role = author.get("role") if isinstance(author, dict) else None
        text = _text(message.get("content"))
        if role in ROLES and text:
            node = _node(role, text, parent, len(seen), message.get("create_time"))
            parent = node.id
            yield node
        children = entry.get("children")
        names = [child for child in children if isinstance(child, str)] if isinstance(children, list) else []
        waiting += [(child, parent) for child in reversed(names)]


def _node(role: Any, text: str, parent: str | None, seq: int, created: Any) -> Node:
    return Node(turns.new_id("m"), seq, parent, role, text, "complete", _milliseconds(created))


def _text(content: Any) -> str | None:
    """Text in any of its shapes: itself, parts with a type, or {"parts": [strings]}; None where there is none."""
    if isinstance(content, dict):
        content = content.get("parts")
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in content]
        content = "\n".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else None


def _milliseconds(seconds: Any) -> int:
    """A time that others give in seconds; now where they give none."""
    if isinstance(seconds, int | float) and 0 < seconds < 1 << 40:
        return int(seconds * 1000)
    return conversations.now()


# ── storing ──


def take_in(history: History, owner: str, document: Any, most: int) -> Taken:
    """Store what a decoded file holds, all of it or nothing; `most` bytes of attachments are kept in all. Blocks.

    Raises InvalidRequest, NoSpace, StorageError.
    """
    found, folder = conversations_in(document), history.attachments
    incoming: list[Incoming] = []
    try:
        incoming.extend(files.stored(folder, one.bytes) for one in _enclosed(document))
        taken, kept = history.write(take, owner, found, incoming, most).result()
    except EdgechatError:
        files.delete(folder, [new.file for new in incoming])
        raise
    for new, there in zip(incoming, kept, strict=True):
        files.settle(folder, new, there)
    return taken


def take(
    db: sqlite3.Connection, owner: str, found: list[Conversation], incoming: Sequence[Incoming] = (), most: int = 0
) -> tuple[Taken, list[Kept]]:
    """Store all of them, in the order of the list; the transaction makes it all or nothing."""
    kept = [attachments.put(db, owner, one, most, conversations.now()) for one in incoming]
    ids, skipped = [], 0
    for one in reversed(found):
        if _is_there(db, owner, one):
            skipped += 1
        else:
            ids.append(_put(db, owner, one if _is_free(db, one) else _renamed(one)))
    return Taken(len(ids), skipped, tuple(reversed(ids))), kept


def _is_there(db: sqlite3.Connection, owner: str, one: Conversation) -> bool:
    sql = "SELECT 1 FROM conversation WHERE id = ? AND owner = ? AND deleted IS NULL"
    if not db.execute(sql, (one.id, owner)).fetchone():
        return False
    return list(map(_said, one.messages)) == list(map(_said, conversations.nodes(db, one.id)))


def _said(node: Node) -> tuple[object, ...]:
    return node.id, node.role, node.content, [held.sha256 for held in node.attachments]


def _is_free(db: sqlite3.Connection, one: Conversation) -> bool:
    """Whether nobody has one of these ids."""
    taken = db.execute("SELECT 1 FROM conversation WHERE id = ?", (one.id,)).fetchone()
    look = "SELECT 1 FROM message WHERE id = ?"
    return not taken and not any(db.execute(look, (node.id,)).fetchone() for node in one.messages)


def _renamed(one: Conversation) -> Conversation:
    """The same under new names."""
    names: dict[str | None, str | None] = {node.id: turns.new_id("m") for node in one.messages}
    names[None] = None
    nodes = tuple(replace(node, id=names[node.id], parent_id=names[node.parent_id]) for node in one.messages)
    return replace(one, id=turns.new_id("c"), messages=nodes)


def _put(db: sqlite3.Connection, owner: str, one: Conversation) -> str:
    title = conversations.one_line(one.title) or "…"
    insert = """INSERT INTO conversation (id, owner, title, titled, pinned, version, touched, created, updated)
                VALUES (?, ?, ?, 'user', ?, 1, ?, ?, ?)"""
    touched = conversations.next_touch(db)
    row = (one.id, owner, title, int(one.pinned), touched, one.created, one.updated)
    rowid = db.execute(insert, row).lastrowid
    assert rowid is not None
    search.put(db, -rowid, title)
    for seq, node in enumerate(one.messages, 1):
        key = turns.put(db, one.id, replace(node, seq=seq))
        attachments.attach(db, owner, key, [held.sha256 for held in node.attachments])
        if node.content:
            search.put(db, key, node.content)
    return one.id
