"""What other programs export, each with the odd entries that real files have: the rest comes in, and is known again."""

from base64 import b64encode
from hashlib import sha256
from typing import Any

import pytest

from edgechat.errors import NoSpace
from edgechat.history import conversations, intake
from edgechat.history.attachments import plain
from edgechat.history.foreign import LeftOut, read
from edgechat.history.held import contents, put
from edgechat.history.store import History
from edgechat.types import Message
from tests.history.conftest import MOST, answered
from tests.pictures import drawn, encoded


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


@pytest.mark.parametrize("name", ["conversations", "chats", "data", "items"])
def test_a_list_within_an_object_is_a_list(name: str) -> None:
    assert lines({"version": 1, name: [OPEN_WEBUI[1], "odd"]}) == [("user", "old form")]
    assert read({name: [CHATGPT[0], "odd"]}, "").left_out == (LeftOut("[1]", "", "no_conversation"),)


def test_lists_of_messages_sharegpts_and_the_items_of_responses() -> None:
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    spoken = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    for document in ([messages], [messages, messages], {"conversations": spoken}, [{"id": 7, "conversations": spoken}]):
        assert lines(document) == PLAIN
    items = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
        {"type": "function_call", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "output": "9 C"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "I do not know."}]},
    ]
    assert lines(items) == [("user", "Weather?"), ("assistant", "`weather({})`\n\n```\n9 C\n```\n\nI do not know.")]


def test_half_a_character_is_replaced(history: History) -> None:
    """Programs cut them off; what is whole though it comes in halves is joined."""
    document = [{"title": "\ud800t", "mapping": chain(said("user", "q\ud83d", "\ud83d\ude00"))}]
    id = intake.take_in(history, "", document, MOST).conversation_ids[0]
    kept = history.read(conversations.get, "", id).result()
    assert (kept.title, kept.messages[0].content) == ("\ufffdt", "q\ufffd\n\U0001f600")


def test_what_has_grown_since_gets_what_is_new(history: History) -> None:
    """Whether it was continued there or here, or both: it stays one conversation."""
    branches = {"id": "x", "title": "t", "mapping": chain(None, said("user", "q"), said("assistant", "a"))}
    (id,) = intake.take_in(history, "", [branches], MOST).conversation_ids
    answered(history, "here", conversation_id=id, after_latest=True)
    assert intake.take_in(history, "", [branches], MOST).skipped == 1
    longer = branches | {"mapping": chain(None, *(said("user", "q"), said("assistant", "a"), said("user", "there")))}
    assert intake.take_in(history, "", [longer], MOST).conversation_ids == (id,)
    assert intake.take_in(history, "", [longer], MOST).skipped == 1
    kept = history.read(conversations.get, "", id).result().messages
    assert [node.content for node in kept] == ["q", "a", "here", "Hi.", "there"]
    assert kept[-1].parent_id == kept[1].id
    assert history.read(conversations.page, "", query="there").result().conversations[0].id == id
    other = branches | {"mapping": chain(None, said("user", "q"), said("assistant", "changed"))}
    (copy,) = intake.take_in(history, "", [other], MOST).conversation_ids
    assert copy != id, "what was said otherwise is another one"
    assert intake.take_in(history, "", [other], MOST).skipped == 1


ALL = [*CHATGPT, *OPEN_WEBUI, *CLAUDE, LIBRECHAT, LLAMA, OPENAI]


def test_nothing_comes_twice(history: History) -> None:
    """Nor under another owner, whose names are others."""
    first = intake.take_in(history, "", ALL, MOST)
    assert (first.imported, first.skipped, len(first.left_out)) == (9, 0, 6)
    again = intake.take_in(history, "", ALL, MOST)
    assert (again.imported, again.skipped) == (0, 9)
    assert intake.take_in(history, "somebody", ALL, MOST).imported == 9
    assert intake.take_in(history, "somebody", ALL, MOST).skipped == 9


# ── pictures ──

FLAG, OTHER = encoded(drawn(), "PNG"), encoded(drawn((30, 20)), "JPEG")
URL = f"data:image/png;base64,{b64encode(FLAG).decode()}"
POINTER = {"content_type": "image_asset_pointer", "asset_pointer": "sediment://file_00Ab"}
NAMED = {"metadata": {"attachments": [{"id": "file_00Ab", "name": "flag.png", "mime_type": "image/png"}, {"id": 5}]}}
SHOWN: dict[str, Any] = {
    "chatgpt": {"mapping": chain(said("user", POINTER, "q", kind="multimodal_text", **NAMED), said("assistant", "a"))},
    "picture alone": {"mapping": chain(said("user", POINTER, kind="multimodal_text", **NAMED), said("assistant", "a"))},
    "openai": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": URL}}]}]},
    "responses": [{"role": "user", "content": [{"type": "input_image", "image_url": URL}]}],
    "anthropic": {"messages": [{"role": "user", "content": [
        {"type": "image", "source": {"type": "base64", "data": URL.partition(",")[2]}}, {"type": "text", "text": "q"},
    ]}]},
    "llama.cpp": {"conv": {"id": "x", "name": "n"}, "messages": [
        {"id": 1, "role": "user", "extra": [{"type": "imageFile", "name": "flag.png", "base64Url": URL}]},
    ]},
    "open webui": {"chat": {"messages": [{"role": "user", "content": "q", "files": [{"type": "image", "url": URL}]}]}},
}  # fmt: skip


@pytest.mark.parametrize("document", SHOWN.values(), ids=SHOWN)
def test_pictures_come_in_and_are_known_again(history: History, document: Any) -> None:
    def beside(where: str) -> bytes | None:
        return FLAG if where == "sediment://file_00Ab" else None

    taken = intake.take_in(history, "", document, MOST, beside)
    assert (taken.imported, taken.without) == (1, {})
    question = history.read(conversations.get, "", taken.conversation_ids[0]).result().messages[0]
    (held,) = question.attachments
    assert (held.sha256, held.kind, held.media_type) == (sha256(FLAG).hexdigest(), "picture", "image/png")
    assert contents(history, "", [Message("user", plain(question.attachments))]) == {held.sha256: FLAG}
    if held.name:
        (found,) = history.read(conversations.page, "", query="flag.png").result().conversations
        assert found.id == taken.conversation_ids[0]
    assert intake.take_in(history, "", document, MOST, beside).skipped == 1
    (file,) = history.attachments.iterdir()
    history.free(conversations.purge, "", taken.conversation_ids[0]).result()
    history.sweep()
    assert not file.exists()


LOST: dict[str, Any] = {
    "no bytes": said("user", {"content_type": "image_asset_pointer", "asset_pointer": "file-service://gone"}, "q"),
    "no pointer": said("user", {"content_type": "image_asset_pointer", "asset_pointer": None}, "q"),
    "a model's": said("assistant", POINTER, "q"),
    "no picture": said("user", {"type": "image_url", "image_url": {"url": "data:text/plain;base64,eA=="}}, "q"),
    "an address": said("user", {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}, "q"),
    "never sent": said("user", {"type": "image_url", "image_url": {"url": f"sha256:{'0' * 64}"}}, "q"),
}


@pytest.mark.parametrize("message", LOST.values(), ids=LOST)
def test_what_has_no_bytes_is_said(history: History, message: Any) -> None:
    def beside(where: str) -> bytes | None:
        return FLAG if where == "sediment://file_00Ab" else None

    taken = intake.take_in(history, "", {"mapping": chain(message)}, MOST, beside)
    assert (taken.imported, taken.without) == (1, {"pictures": 1})
    assert not history.attachments.exists() or not list(history.attachments.iterdir())


def test_others_name_theirs_and_bring_none() -> None:
    claude = [
        {"chat_messages": [{"sender": "human", "text": "q", "files": [{"file_kind": "image", "file_name": "b"}]}]}
    ]
    libre = {"messages": [{"isCreatedByUser": True, "text": "q", "files": [{"type": "image/png", "filepath": "/i/x"}]}]}
    newer = [{"chat": {"messages": [{"role": "user", "content": "q", "files": [{"type": "image", "url": "an-id"}]}]}}]
    for document in (claude, libre, newer):
        assert read(document, "").without == {"pictures": 1}


def test_what_the_page_sent_before_is_found_again_and_nobody_elses(history: History) -> None:
    digest = put(history, "ann", OTHER, "photo.jpg", MOST)
    document = {"mapping": chain(said("user", {**POINTER, "asset_pointer": f"sha256:{digest}"}, "q"))}
    (id,) = intake.take_in(history, "ann", document, MOST).conversation_ids
    assert [held.sha256 for held in history.read(conversations.get, "ann", id).result().messages[0].attachments] == [
        digest
    ]
    assert intake.take_in(history, "bob", document, MOST).without == {"pictures": 1}


def test_too_many_pictures_are_told_and_leave_nothing(history: History) -> None:
    with pytest.raises(NoSpace, match="attachment_bytes"):
        intake.take_in(history, "", SHOWN["openai"], len(FLAG) - 1)
    assert list(history.attachments.iterdir()) == []
    assert history.read(conversations.page, "").result().conversations == ()


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
