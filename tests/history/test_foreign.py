"""What other programs export, each with the odd entries that real files have: the rest comes in, and is known again."""

from typing import Any

import pytest

from edgechat.history import conversations, intake
from edgechat.history.foreign import LeftOut, read
from edgechat.history.store import History
from tests.history.conftest import MOST, answered


def said(role: str, *parts: Any, kind: str = "text", **more: Any) -> dict[str, Any]:
    return {"author": {"role": role}, "content": {"content_type": kind, "parts": list(parts)}} | more


def chain(*messages: dict[str, Any] | None) -> dict[str, Any]:
    """A ChatGPT mapping without branches."""
    return {
        str(at): {"message": one, "parent": str(at - 1) if at else None, "children": [str(at + 1)]}
        for at, one in enumerate(messages)
    }


PICTURE = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://x"}
CODE = {"author": {"role": "assistant"}, "content": {"content_type": "code", "language": "python", "text": "print(1)"}}
RAN = {"author": {"role": "tool"}, "content": {"content_type": "execution_output", "text": "1"}}
HIDDEN = said("system", "secret", weight=0)
CHATGPT = [
    {"title": "plain", "create_time": 1.0e9, "mapping": chain(None, said("user", "q"), said("assistant", "a"))},
    {"title": "picture", "mapping": chain(said("user", PICTURE, kind="multimodal_text"))},
    {"title": "none", "mapping": {}},
    {"title": None, "create_time": None,
     "mapping": chain(HIDDEN, said("user", "run", None, PICTURE), CODE, RAN, said("assistant", "It is 1."))},
    "odd",
    {"title": "no mapping"},
    {
        "title": "branches",
        "create_time": 1.1e9,
        "current_node": "a1",
        "mapping": {
            "q": {"message": said("user", "q"), "parent": None, "children": ["a1", "a2"]},
            "a1": {"message": said("assistant", "shown"), "parent": "q", "children": []},
            "a2": {"message": said("assistant", "abandoned"), "parent": "q", "children": []},
        },
    },
]  # fmt: skip
OPEN_WEBUI = [
    {
        "id": "w-1",
        "title": "Web",
        "updated_at": 1700000000,
        "chat": {
            "history": {
                "currentId": "2",
                "messages": {
                    "1": {"id": "1", "parentId": None, "role": "user", "content": "q", "timestamp": 1700000000},
                    "3": {"id": "3", "parentId": "1", "role": "assistant", "content": "other"},
                    "2": {
                        "id": "2",
                        "parentId": "1",
                        "role": "assistant",
                        "content": "a",
                        "files": [{"type": "image"}],
                    },
                },
            }
        },
    },
    {"id": "w-2", "title": "List", "chat": {"messages": [{"role": "user", "content": "old form"}]}},
    {"id": "w-3", "title": "Empty", "chat": {"history": {"messages": {}}}},
]
CLAUDE = [
    {
        "uuid": "u-1",
        "name": "Claude",
        "created_at": "2024-05-01T10:00:00.000000Z",
        "chat_messages": [
            {"uuid": "1", "sender": "human", "text": "", "content": [{"type": "text", "text": "q"}],
             "attachments": [{"file_name": "a.txt", "extracted_content": "inside"}], "files": [{"file_name": "b.png"}]},
            {"uuid": "2", "sender": "assistant", "text": "a", "created_at": "2024-05-01T10:00:05Z"},
        ],
    },
    {"uuid": "u-2", "name": "", "chat_messages": []},
]  # fmt: skip
LIBRECHAT = {
    "conversationId": "l-1",
    "title": "Libre",
    "messages": [
        {"messageId": "1", "parentMessageId": "00000000-0000-0000-0000-000000000000",
         "text": "q", "isCreatedByUser": True,
         "children": [{"messageId": "2", "parentMessageId": "1", "sender": "GPT-4", "isCreatedByUser": False,
                       "content": [{"type": "think", "think": "hm"}, {"type": "text", "text": {"value": "a"}}]}]},
    ],
}  # fmt: skip
LLAMA = {
    "conv": {"id": "x", "name": "Llama", "lastModified": 1700000000000, "currNode": 1},
    "messages": [
        {"id": 0, "type": "root", "role": "system", "content": "", "parent": -1, "timestamp": 1700000000000},
        {"id": 1, "type": "text", "role": "user", "content": "q", "parent": 0, "timestamp": 1700000000000},
        {"id": 2, "type": "text", "role": "assistant", "content": "a", "parent": 1, "timestamp": 1700000000001},
    ],
}
OPENAI = {
    "messages": [
        {"role": "developer", "content": "Be brief."},
        {"role": "user",
         "content": [{"type": "text", "text": "Weather?"}, {"type": "image_url", "image_url": {"url": "x"}}]},
        {"role": "assistant", "content": None,
         "tool_calls": [{"function": {"name": "weather", "arguments": '{"at": "Ulm"}'}}]},
        {"role": "tool", "tool_call_id": "1", "content": "9 C"},
        {"role": "robot", "content": "unknown"},
        {"role": "assistant", "content": "Cold."},
    ]
}  # fmt: skip


def lines(document: Any, at: int = 0) -> list[tuple[str, str]]:
    return [(node.role, node.content) for node in read(document, "").conversations[at].messages]


PLAIN = [("user", "q"), ("assistant", "a")]


def test_chatgpt() -> None:
    found = read(CHATGPT, "")
    assert [one.title for one in found.conversations] == ["run", "branches", "plain"], "newest first"
    assert lines(CHATGPT, 2) == PLAIN
    assert lines(CHATGPT) == [("user", "run"), ("assistant", "```python\nprint(1)\n```\n\n```\n1\n```\n\nIt is 1.")]
    assert found.left_out == (
        LeftOut("[1]", "picture", "no_text"),
        LeftOut("[2]", "none", "no_text"),
        LeftOut("[4]", "", "no_conversation"),
        LeftOut("[5]", "no mapping", "no_conversation"),
    )
    assert found.without == {"pictures": 2}
    q, abandoned, shown = found.conversations[1].messages
    assert [abandoned.content, shown.content] == ["abandoned", "shown"]
    assert abandoned.parent_id == shown.parent_id == q.id


def test_open_webui() -> None:
    found = read(OPEN_WEBUI, "")
    assert lines([OPEN_WEBUI[0]]) == [("user", "q"), ("assistant", "other"), ("assistant", "a")]
    assert [one.title for one in found.conversations] == ["List", "Web"]
    assert found.conversations[1].created == 1_700_000_000_000
    assert found.left_out == (LeftOut("[2]", "Empty", "no_conversation"),)
    assert found.without == {"pictures": 1}


def test_claude() -> None:
    found = read(CLAUDE, "")
    assert lines(CLAUDE) == [("user", "q\n\na.txt\n\n```\ninside\n```"), ("assistant", "a")]
    assert found.conversations[0].created == 1_714_557_600_000
    assert (found.conversations[0].title, found.without) == ("Claude", {"files": 1})
    assert found.left_out == (LeftOut("[1]", "", "no_text"),)


def test_librechat_and_llama_cpp() -> None:
    assert lines(LIBRECHAT) == lines([LIBRECHAT]) == lines(LLAMA) == PLAIN
    assert [read(one, "").conversations[0].title for one in (LIBRECHAT, LLAMA)] == ["Libre", "Llama"]


@pytest.mark.parametrize("document", [OPENAI, [OPENAI], OPENAI["messages"]])
def test_openai_style_with_calls_and_tools(document: Any) -> None:
    assert lines(document) == [
        ("system", "Be brief."),
        ("user", "Weather?"),
        ("assistant", '`weather({"at": "Ulm"})`\n\n```\n9 C\n```\n\nCold.'),
    ]
    assert read(document, "").without == {"pictures": 1, "messages": 1}


ALL = [*CHATGPT, *OPEN_WEBUI, *CLAUDE, LIBRECHAT, LLAMA, OPENAI]


def test_nothing_comes_twice(history: History) -> None:
    """Nor under another owner, whose names are others."""
    first = intake.take_in(history, "", ALL, MOST)
    assert (first.imported, first.skipped, len(first.left_out)) == (9, 0, 6)
    again = intake.take_in(history, "", ALL, MOST)
    assert (again.imported, again.skipped) == (0, 9)
    assert intake.take_in(history, "somebody", ALL, MOST).imported == 9
    assert intake.take_in(history, "somebody", ALL, MOST).skipped == 9


def test_what_is_old_stands_below_what_is_new(history: History) -> None:
    answered(history, "today")
    intake.take_in(history, "", [CHATGPT[0], CHATGPT[6], CLAUDE[0]], MOST)
    heads = history.read(conversations.page, "").result().conversations
    assert [head.title for head in heads] == ["today", "Claude", "branches", "plain"]
    pages, cursor = [], None
    while True:
        page = history.read(conversations.page, "", cursor, limit=1).result()
        pages += [head.title for head in page.conversations]
        cursor = page.next
        if cursor is None:
            break
    assert pages == ["today", "Claude", "branches", "plain"]


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), 1e308, -1, "yesterday", [], {}, None, True])
def test_no_time_is_too_odd(odd: Any, history: History) -> None:
    document = {
        "title": "t",
        "create_time": odd,
        "update_time": odd,
        "mapping": chain(said("user", "q", create_time=odd)),
    }
    assert intake.take_in(history, "", document, MOST).imported == 1


def test_a_deep_tree_and_one_that_bites_its_tail_come_to_an_end() -> None:
    assert (
        len(read({"mapping": chain(*[said("user", str(at)) for at in range(5000)])}, "").conversations[0].messages)
        == 5000
    )
    ring = {"a": {"message": said("user", "a"), "parent": "b"}, "b": {"message": said("user", "b"), "parent": "a"}}
    assert read({"mapping": ring, "current_node": "a"}, "").conversations == []
