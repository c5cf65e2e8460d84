"""What was exported, taken in: of ours all or nothing, identical; of what other programs wrote (foreign.py) whatever
can be read, with a word on the rest. Either way in one transaction.
"""

import hashlib
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from msgspec.structs import replace

from edgechat.errors import EdgechatError, InvalidRequest, NotFound
from edgechat.history import attachments, conversations, files, foreign, search, turns
from edgechat.history.beside import Keep, nothing
from edgechat.history.exchange import FORMAT, VERSION, Enclosed, File, settled
from edgechat.history.files import Incoming, Kept
from edgechat.history.foreign import Found, LeftOut
from edgechat.history.records import Conversation, Held, Node
from edgechat.history.store import History
from edgechat.media import inline
from edgechat.types import Attachment, Struct

UPLOADED = "sha256:"  # where a picture is that was put here before


class Taken(Struct, frozen=True, omit_defaults=True):
    """What became of a file. `skipped` were there already, word for word; `left_out` and `without` as in foreign.py."""

    imported: int
    skipped: int
    conversation_ids: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()
    without: dict[str, int] = msgspec.field(default_factory=dict)


# ── reading: pure ──


WHY = {"no_conversation": "is in none of the forms that are known", "no_text": "has no message with text"}


def found_in(document: Any, owner: str = "", keep: Keep = nothing) -> Found:
    """What a decoded file holds, and `keep` knows beside it. Raises InvalidRequest where that is nothing, with why."""
    if isinstance(document, dict) and "format" in document:
        return Found(_ours(document), foreign=False)
    found = foreign.read(document, owner, keep)
    if not found.conversations:
        first = next(iter(found.left_out), None)
        why = f"{first.place or 'the file'} {WHY[first.why]}" if first else "the file holds no conversation"
        raise InvalidRequest(f"{why}.", first.place or None if first else None)
    return found


def _ours(document: dict[str, Any]) -> list[Conversation]:
    if document["format"] != FORMAT or document.get("version") not in range(1, VERSION + 1):
        raise InvalidRequest(
            f"the file's format is {document['format']!r}, version {document.get('version')!r}; "
            f"this edgechat reads {FORMAT!r}, versions 1 to {VERSION}.",
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


# ── storing ──


Files = Callable[[str], bytes | None]  # what lies beside a document, by where it says


def no_files(_where: str) -> None:
    """Where there is nothing beside it."""


class Pictures:
    """The pictures of a foreign document, on the disk for good as they are found; `incoming` have no rows yet."""

    def __init__(self, history: History, owner: str, files: Files) -> None:
        self._history, self._owner, self._files = history, owner, files
        self._known: dict[str, Held | None] = {}
        self.incoming: list[Incoming] = []

    def keep(self, where: str, name: str) -> Held | None:
        """`Keep` of beside.py."""
        if where not in self._known:
            self._known[where] = self._uploaded(where, name) if where.startswith(UPLOADED) else self._new(where, name)
        return self._known[where]

    def _uploaded(self, where: str, name: str) -> Held | None:
        """What the page has sent before, from an archive that it alone can open."""
        with suppress(NotFound):
            there = self._history.read(attachments.find, self._owner, where.removeprefix(UPLOADED)).result()
            return _held(there.attachment, name)
        return None

    def _new(self, where: str, name: str) -> Held | None:
        content = self._files(where)
        try:
            sent = inline.picture(where) if content is None else inline.received(content)
        except ValueError:
            return None
        self.incoming.append(files.stored(self._history.attachments, sent.content, name))
        return _held(sent.attachment, name)


def _held(part: Attachment, name: str) -> Held:
    return Held(part.sha256, part.kind, part.media_type, name)


def take_in(history: History, owner: str, document: Any, most: int, beside: Files = no_files) -> Taken:
    """Store what a decoded file holds, and pictures `beside` it; `most` bytes of attachments are kept in all. Blocks.

    Raises InvalidRequest, NoSpace, StorageError.
    """
    folder, pictures = history.attachments, Pictures(history, owner, beside)
    incoming = pictures.incoming
    try:
        found = found_in(document, owner, pictures.keep)
        names = {
            held.sha256: held.name for one in found.conversations for node in one.messages for held in node.attachments
        }
        incoming.extend(files.stored(folder, one.bytes, names.get(one.sha256, "")) for one in _enclosed(document))
        taken, kept = history.write(take, owner, found.conversations, incoming, most, found.foreign).result()
    except EdgechatError:
        files.delete(folder, [new.file for new in incoming])
        raise
    for new, there in zip(incoming, kept, strict=True):
        files.settle(folder, new, there)
    return replace(taken, left_out=found.left_out, without=found.without)


def take(
    db: sqlite3.Connection,
    owner: str,
    found: list[Conversation],
    incoming: Sequence[Incoming] = (),
    most: int = 0,
    foreign: bool = False,
) -> tuple[Taken, list[Kept]]:
    """Store all of them, in the order of the list; the transaction makes it all or nothing."""
    kept = [_kept(db, owner, one, most) for one in incoming]
    ids: list[str] = []
    skipped = 0
    for one in reversed(found):
        if (id := _stored(db, owner, one, foreign)) is not None:
            ids.append(id)
        else:
            skipped += 1
    _order(db, owner, set(ids))
    return Taken(len(ids), skipped, tuple(reversed(ids))), kept


def _stored(db: sqlite3.Connection, owner: str, one: Conversation, foreign: bool) -> str | None:
    """Store it, and where: as it is called, else as a copy; None where it is there.

    What another program exports again has grown since, there or here: here it gets what is new.
    """
    if _is_free(db, one):
        return _put(db, owner, one)
    there = _there(db, owner, one.id)
    if _said(there) == _said(one.messages):
        return None
    more = _more(there, one) if foreign else None
    if more is not None:
        return _grown(db, owner, one, more) if more else None
    copy = _renamed(one, owner)
    if _said(_there(db, owner, copy.id)) == _said(one.messages):
        return None
    return _put(db, owner, copy if _is_free(db, copy) else _renamed(copy, turns.new_id("c")))


def _kept(db: sqlite3.Connection, owner: str, one: Incoming, most: int) -> Kept:
    """A row for it; one that is there stays as it is: what comes a second time goes with the conversation it is in."""
    try:
        return attachments.find(db, owner, one.sha256)
    except NotFound:
        return attachments.put(db, owner, one, most, conversations.now())


def _order(db: sqlite3.Connection, owner: str, new: set[str]) -> None:
    """Put the new ones among the others by their time; among themselves either keep their order."""
    sql = "SELECT rowid, id, touched, updated FROM conversation WHERE owner = ? ORDER BY touched"
    rows = db.execute(sql, (owner,)).fetchall()
    fresh = deque(row for row in rows if row[1] in new)
    ordered = []
    for row in rows:
        if row[1] in new:
            continue
        while fresh and fresh[0][3] <= row[3]:
            ordered.append(fresh.popleft())
        ordered.append(row)
    places = zip([*ordered, *fresh], (row[2] for row in rows), strict=True)
    moved = [(touched, row[0]) for row, touched in places if touched != row[2]]
    db.executemany("UPDATE conversation SET touched = ? WHERE rowid = ?", moved)


def _there(db: sqlite3.Connection, owner: str, id: str) -> Sequence[Node]:
    """The messages of a conversation that is `owner`'s and not deleted."""
    sql = "SELECT 1 FROM conversation WHERE id = ? AND owner = ? AND deleted IS NULL"
    return conversations.nodes(db, id) if db.execute(sql, (id, owner)).fetchone() else ()


def _said(nodes: Sequence[Node]) -> list[tuple[object, ...]]:
    return [(node.role, node.content, [held.sha256 for held in node.attachments]) for node in nodes]


def _more(there: Sequence[Node], one: Conversation) -> list[Node] | None:
    """What of `one` is not `there`; None where that is another conversation, or was changed."""
    known = {node.id: node for node in there}
    common = [node for node in one.messages if node.id in known]
    if not common or common[0] != one.messages[0] or _said(common) != _said([known[node.id] for node in common]):
        return None
    return [node for node in one.messages if node.id not in known]


def _grown(db: sqlite3.Connection, owner: str, one: Conversation, more: list[Node]) -> str | None:
    """Add what is new of a conversation; None where a message of it was deleted here."""
    look = "SELECT 1 FROM message WHERE id = ?"
    if any(db.execute(look, (node.id,)).fetchone() for node in more):
        return None
    (last,) = db.execute("SELECT max(seq) FROM message WHERE conversation_id = ?", (one.id,)).fetchone()
    _add(db, owner, one.id, more, last)
    change = "UPDATE conversation SET version = version + 1, updated = max(updated, ?) WHERE id = ?"
    db.execute(change, (one.updated, one.id))
    return one.id


def _is_free(db: sqlite3.Connection, one: Conversation) -> bool:
    """Whether nobody has one of these ids."""
    taken = db.execute("SELECT 1 FROM conversation WHERE id = ?", (one.id,)).fetchone()
    look = "SELECT 1 FROM message WHERE id = ?"
    return not taken and not any(db.execute(look, (node.id,)).fetchone() for node in one.messages)


def _renamed(one: Conversation, seed: str) -> Conversation:
    """The same under other names, which the same gets again."""
    digest = hashlib.sha256(msgspec.json.encode((seed, one.id, _said(one.messages)))).hexdigest()

    def name(kind: str, id: str) -> str:
        return f"{kind}-{hashlib.sha256(f'{digest} {id}'.encode()).hexdigest()[:16]}"

    names: dict[str | None, str | None] = {node.id: name("m", node.id) for node in one.messages}
    names[None] = None
    nodes = tuple(replace(node, id=names[node.id], parent_id=names[node.parent_id]) for node in one.messages)
    return replace(one, id=name("c", one.id), messages=nodes)


def _put(db: sqlite3.Connection, owner: str, one: Conversation) -> str:
    title = conversations.one_line(one.title) or "…"
    insert = """INSERT INTO conversation (id, owner, title, titled, pinned, version, touched, created, updated)
                VALUES (?, ?, ?, 'user', ?, 1, ?, ?, ?)"""
    touched = conversations.next_touch(db)
    row = (one.id, owner, title, int(one.pinned), touched, one.created, one.updated)
    rowid = db.execute(insert, row).lastrowid
    assert rowid is not None
    search.put(db, -rowid, title)
    conversations.put_settings(db, one.id, one.settings)
    _add(db, owner, one.id, one.messages, 0)
    return one.id


def _add(db: sqlite3.Connection, owner: str, id: str, nodes: Sequence[Node], last: int) -> None:
    """Put `nodes` behind the message numbered `last`."""
    for seq, node in enumerate(nodes, last + 1):
        key = turns.put(db, id, replace(node, seq=seq))
        names = attachments.attach(db, owner, key, [held.sha256 for held in node.attachments])
        if words := [text for text in (node.content, *names) if text]:
            search.put(db, key, "\n".join(words))
