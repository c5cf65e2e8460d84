"""Import adapters: conversations as other programs export them, read as ours. Pure, and forgiving: an entry that is no
conversation is left out and told, and so is what a message holds besides text and pictures (beside.py).

    ChatGPT        [{"title", "mapping": {id: {"message", "parent", "children"}}, "current_node"}, …]
    Claude         [{"name", "chat_messages": [{"sender", "text" | "content", …}]}, …]
    Open WebUI     [{"title", "chat": {"history": {"messages": {id: {"parentId", …}}, "currentId"}}}, …]
    LibreChat      {"conversationId", "title", "messages": [{"parentMessageId", "isCreatedByUser", "text", …}]}
    llama.cpp      {"conv": {"name", "currNode"}, "messages": [{"id", "parent", "role", "content"}]}
    OpenAI-style   {"messages": [{"role", "content", "tool_calls"}, …]}, a list of messages, items of Responses
    ShareGPT       {"conversations": [{"from", "value"}, …]}

of one, in a list, or in a list within an object.

A tree keeps its branches; the one that was shown last is last here, too. Names follow from the source's, so that what
comes a second time is known.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from edgechat.history import conversations
from edgechat.history.beside import Beside, Keep, is_picture, nothing
from edgechat.history.records import Conversation, Held, Node
from edgechat.types import Struct

Role = Literal["system", "user", "assistant"]

ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "human": "user",
         "assistant": "assistant", "model": "assistant", "gpt": "assistant", "tool": "assistant",
         "function": "assistant"}  # fmt: skip
KINDS = {"function_call": "assistant", "function_call_output": "tool"}  # items of Responses, which have no role
HIDDEN = ("thoughts", "reasoning_recap", "user_editable_context", "model_editable_context", "system_error")
FILES = (
    "file",
    "document",
    "input_file",
    "input_audio",
    "audio_asset_pointer",
    "real_time_user_audio_video_asset_pointer",
)
NOWHERE = "00000000-0000-0000-0000-000000000000"  # LibreChat's parent of a first message


class LeftOut(Struct, frozen=True):
    """An entry that did not come in: `place` in its file, and why."""

    place: str
    title: str
    why: Literal["no_conversation", "no_text"]


class Entry(Struct, frozen=True):
    """A message as it was found."""

    parent: str | None
    role: Role | None
    text: str
    created: Any
    held: tuple[Held, ...] = ()


class Found(Struct, frozen=True):
    """What a document holds: newest first. `without`: how many pictures, files and messages of it did not."""

    conversations: list[Conversation]
    left_out: tuple[LeftOut, ...] = ()
    without: dict[str, int] = msgspec.field(default_factory=dict)
    foreign: bool = True


def read(document: Any, owner: str, keep: Keep = nothing) -> Found:
    """Every conversation of a decoded file; their names are `owner`'s own. `keep` knows the pictures beside it."""
    document = _unwrapped(document)
    items = document if isinstance(document, list) else [document]
    beside = Beside(keep)
    found, left_out = [], []
    for at, item in enumerate(items):
        place = f"[{at}]" if isinstance(document, list) else ""
        shape = _shape(item, beside)
        if shape is None:
            left_out.append(LeftOut(place, _title(item), "no_conversation"))
            continue
        one = _conversation(item, *shape, owner)
        if one.messages:
            found.append(one)
        else:
            left_out.append(LeftOut(place, _title(item), "no_text"))
    found.sort(key=lambda one: one.updated, reverse=True)
    return Found(found, tuple(left_out), dict(beside.lost))


def _unwrapped(document: Any) -> Any:
    """The list of conversations of a document that has one; a list of messages is one conversation."""
    if isinstance(document, dict) and not _is_known(document):
        within = (document.get(name) for name in ("conversations", "chats", "data", "items"))
        document = next((one for one in within if isinstance(one, list)), document)
    if not isinstance(document, list):
        return document
    if document and all(map(_is_message, document)):
        return [{"messages": document}]
    return [
        {"messages": item} if isinstance(item, list) and item and all(map(_is_message, item)) else item
        for item in document
    ]


def _is_known(item: dict[str, Any]) -> bool:
    return any(name in item for name in ("mapping", "chat", "chat_messages", "messages", "messagesTree"))


def _is_message(item: Any) -> bool:
    """Of a list that is one conversation: a message, or an item of Responses."""
    kinds = ("function_call", "function_call_output", "reasoning")
    return isinstance(item, dict) and (
        "role" in item or ("from" in item and "value" in item) or item.get("type") in kinds
    )


def _shape(item: Any, beside: Beside) -> tuple[dict[str, Entry], str | None] | None:
    """The messages of an entry by their names, and which was shown last; None where it is in none of the shapes."""
    if not isinstance(item, dict):
        return None
    chat, conv = item.get("chat"), item.get("conv")
    if isinstance(item.get("mapping"), dict):
        return _chatgpt(item["mapping"], beside), item.get("current_node")
    if isinstance(chat, dict):
        history = chat.get("history")
        if isinstance(history, dict) and isinstance(history.get("messages"), dict) and history["messages"]:
            return _named(history["messages"], "parentId", beside), history.get("currentId")
        return (_line(chat["messages"], beside), None) if isinstance(chat.get("messages"), list) else None
    if isinstance(item.get("chat_messages"), list):
        return _line(item["chat_messages"], beside, "uuid", "parent_message_uuid"), item.get(
            "current_leaf_message_uuid"
        )
    messages = next((item[name] for name in ("messages", "messagesTree", "conversations") if name in item), None)
    if not isinstance(messages, list):
        return None
    if isinstance(conv, dict):
        return _line(messages, beside, "id", "parent"), conv.get("currNode")
    return _line(_flat(messages), beside, "messageId", "parentMessageId"), None


# ── the shapes ──


def _chatgpt(mapping: dict[str, Any], beside: Beside) -> dict[str, Entry]:
    above = {
        child: id
        for id, entry in mapping.items()
        if isinstance(entry, dict) and isinstance(entry.get("children"), list)
        for child in entry["children"]
        if isinstance(child, str)
    }
    found = {}
    for id, entry in mapping.items():
        if not isinstance(entry, dict):
            continue
        parent = entry.get("parent") if entry.get("parent") in mapping else above.get(id)
        message = entry.get("message")
        message = message if isinstance(message, dict) else {}
        author, about = message.get("author"), message.get("metadata")
        role = author.get("role") if isinstance(author, dict) else None
        hidden = message.get("weight") == 0 or (
            isinstance(about, dict) and about.get("is_visually_hidden_from_conversation") is True
        )
        text = "" if hidden or role not in ROLES else _text(message.get("content"), beside)
        held = () if hidden or role not in ROLES else beside.pictures(message, ROLES[role])
        found[id] = Entry(parent, ROLES.get(role or ""), text, message.get("create_time"), held)
    return found


def _named(messages: dict[str, Any], parent: str, beside: Beside) -> dict[str, Entry]:
    return {
        id: _entry(message, message.get(parent), beside)
        for id, message in messages.items()
        if isinstance(message, dict)
    }


def _line(messages: Iterable[Any], beside: Beside, id: str = "id", parent: str = "") -> dict[str, Entry]:
    """Messages in order: each follows the one before, unless it names another."""
    found: dict[str, Entry] = {}
    before: str | None = None
    for at, message in enumerate(messages):
        if not isinstance(message, dict):
            continue
        name = message.get(id)
        name = name if isinstance(name, str | int) and str(name) not in found else at
        up = message.get(parent)
        up = None if up == NOWHERE else str(up) if isinstance(up, str | int) and str(up) in found else before
        found[str(name)] = _entry(message, up, beside)
        before = str(name)
    return found


def _flat(messages: list[Any]) -> Iterator[Any]:
    """LibreChat's messages, whose answers may stand within them."""
    waiting = list(reversed(messages))
    while waiting:
        message = waiting.pop()
        yield message
        if isinstance(message, dict) and isinstance(message.get("children"), list):
            waiting += reversed(message["children"])


def _entry(message: dict[str, Any], parent: Any, beside: Beside) -> Entry:
    role = message.get("role") or message.get("sender") or message.get("from") or KINDS.get(str(message.get("type")))
    if isinstance(message.get("isCreatedByUser"), bool):
        role = "user" if message["isCreatedByUser"] else "assistant"
    known = ROLES.get(role.lower() if isinstance(role, str) else "")
    text = next(filter(None, (_text(message.get(name), beside) for name in ("content", "text", "value", "output"))), "")
    if role in ("tool", "function") and text:
        text = f"```\n{text}\n```"
    calls = message if message.get("type") == "function_call" else message.get("function_call")
    parts = [text, *_calls(message.get("tool_calls")), *_calls([{"function": calls}]), *_attached(message, beside)]
    if known is None and text:
        beside.lost["messages"] += 1  # of a role that nobody knows
    created = next(
        (message[name] for name in ("created", "created_at", "createdAt", "timestamp") if name in message), None
    )
    return Entry(
        parent if isinstance(parent, str) else None,
        known,
        "\n\n".join(filter(None, parts)) if known else "",
        created,
        beside.pictures(message, known),
    )


def _calls(calls: Any) -> Iterator[str]:
    """What a model called, as it would be written."""
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            yield f"`{function.get('name')}({function.get('arguments') or ''})`"


def _attached(message: dict[str, Any], beside: Beside) -> Iterator[str]:
    """What is in files beside a message, where its text was kept."""
    for field in ("attachments", "files", "extra"):
        for one in message[field] if isinstance(message.get(field), list) else ():
            if is_picture(one):
                continue
            text = one.get("extracted_content", one.get("content")) if isinstance(one, dict) else None
            if isinstance(text, str) and text:
                yield f"{one.get('file_name') or one.get('name') or ''}\n\n```\n{text}\n```".strip()
            else:
                beside.lost["files"] += 1


def _text(content: Any, beside: Beside) -> str:
    """Text in any of its shapes: itself, parts with a type, {"parts": […]}, code; "" where there is none."""
    if isinstance(content, dict):
        kind = content.get("content_type")
        if kind in HIDDEN:
            return ""
        if kind in ("code", "execution_output") and isinstance(content.get("text"), str) and content["text"]:
            language = content.get("language")
            return f"```{language if language not in (None, 'unknown') else ''}\n{content['text']}\n```"
        content = content.get("parts", content.get("text"))
    if isinstance(content, list):
        content = "\n".join(filter(None, (_part(part, beside) for part in content)))
    return _whole(content) if isinstance(content, str) else ""


def _whole(text: str) -> str:
    """`text` without halves of characters, such as some programs cut off."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _part(part: Any, beside: Beside) -> str:
    if not isinstance(part, dict):
        return part if isinstance(part, str) else ""
    kind = part.get("type") or part.get("content_type")
    if kind in FILES:
        beside.lost["files"] += 1
    text = part.get("text") or part.get("refusal")
    text = text.get("value") if isinstance(text, dict) else text
    return text if isinstance(text, str) else ""


# ── ours ──


def _conversation(item: dict[str, Any], entries: dict[str, Entry], current: Any, owner: str) -> Conversation:
    conv = item.get("conv")
    about = (
        {**conv, "title": conv.get("name"), "updated_at": conv.get("lastModified")} if isinstance(conv, dict) else item
    )
    named = (about.get(name) for name in ("id", "uuid", "conversation_id", "conversationId"))
    source = next((name for name in named if isinstance(name, str | int) and name), None)
    said = "\0".join(f"{entry.role}\0{entry.text}" for entry in entries.values())
    seed = f"{owner}\0{source or said}"
    nodes = _joined(list(_nodes(entries, current, seed)))
    created = next(
        (about[name] for name in ("create_time", "created_at", "createdAt", "exportAt") if about.get(name)), None
    )
    updated = next((about[name] for name in ("update_time", "updated_at", "updatedAt") if about.get(name)), created)
    title = _title(item) or (conversations.one_line(nodes[0].content) if nodes else "") or "…"
    begun = _milliseconds(created or (nodes and nodes[0].created))
    return Conversation(
        _name("c", seed), title, 1, False, begun, max(begun, _milliseconds(updated)), messages=tuple(nodes)
    )


def _nodes(entries: dict[str, Entry], current: Any, seed: str) -> Iterator[Node]:
    """Parents before children, the branch that was shown last. What has no text hands its children to its parent."""
    shown: set[str] = set()
    while isinstance(current, str) and current in entries and current not in shown:
        shown.add(current)
        current = entries[current].parent
    children: dict[str | None, list[str]] = {}
    for id, entry in entries.items():
        children.setdefault(entry.parent if entry.parent in entries else None, []).append(id)
    waiting: list[tuple[str, str | None]] = [(id, None) for id in _last(children.get(None, []), shown)]
    seen = 0
    while waiting:
        id, parent = waiting.pop()
        entry = entries[id]
        seen += 1
        if entry.role and (entry.text.strip() or entry.held):
            node = Node(
                _name("m", f"{seed}\0{id}"),
                seen,
                parent,
                entry.role,
                _whole(entry.text),
                "complete",
                _milliseconds(entry.created),
                attachments=entry.held,
            )
            parent = node.id
            yield node
        waiting += [(child, parent) for child in _last(children.get(id, []), shown)]


def _last(names: list[str], shown: set[str]) -> list[str]:
    """For a stack: the one that was shown goes to its ground, and comes last."""
    return [name for name in names if name in shown] + [name for name in reversed(names) if name not in shown]


def _joined(nodes: list[Node]) -> list[Node]:
    """What a model said in several messages, with tools between, as the one answer it was."""
    kids = Counter(node.parent_id for node in nodes)
    kept: dict[str, Node] = {}
    stands: dict[str | None, str | None] = {}
    for node in nodes:
        parent = stands.get(node.parent_id, node.parent_id)
        up = kept.get(parent or "")
        if up is not None and up.role == node.role == "assistant" and kids[node.parent_id] == 1:
            kept[up.id] = replace(up, content=f"{up.content}\n\n{node.content}")
            stands[node.id] = up.id
        else:
            kept[node.id] = replace(node, parent_id=parent)
    return list(kept.values())


def _title(item: Any) -> str:
    if not isinstance(item, dict):
        return ""
    within = [one for name in ("conv", "chat") if isinstance(one := item.get(name), dict)]
    named = [one.get(name) for one in (item, *within) for name in ("title", "name")]
    return next((title for one in named if isinstance(one, str) and (title := conversations.one_line(_whole(one)))), "")


def _name(kind: str, source: str) -> str:
    """An id that the same source gets again."""
    return f"{kind}-{hashlib.sha256(source.encode(errors='replace')).hexdigest()[:16]}"


def _milliseconds(time: Any) -> int:
    """A time that others give in seconds, milliseconds or words; now where they give none."""
    if isinstance(time, str):
        try:
            time = datetime.fromisoformat(time).timestamp()
        except (ValueError, OverflowError):
            time = None
    if isinstance(time, int | float) and 0 < time < 1 << 46:
        return int(time * 1000) if time < 1 << 37 else int(time)
    return conversations.now()
