import msgspec
import pytest

from edgechat.errors import InvalidRequest, NotFound
from edgechat.history import conversations, exchange, intake
from edgechat.history.records import Settings
from edgechat.history.store import History
from tests.history.conftest import MOST, answered, ask


def fill(history: History) -> list[str]:
    """Three conversations: branches, a pin, strange text, an answer under way."""
    first = answered(history, "一 & <b>", "1\0\u2028")
    answered(history, "edited", "2", conversation_id=first.conversation_id, parent_id=None)
    second = answered(history, "two", params={"temperature": 0, "stop": ["x"]})
    ask(history, "more", conversation_id=second.conversation_id, after_latest=True)
    third = answered(history, "three")
    history.write(conversations.change, "", first.conversation_id, None, {"pinned": True, "title": "题"}).result()
    return [started.conversation_id for started in (first, second, third)]


def exported(history: History, owner: str = "") -> exchange.File:
    return msgspec.json.decode(b"".join(exchange.as_json(history, owner)), type=exchange.File)


def test_what_was_exported_comes_back_identical(history: History) -> None:
    ids = fill(history)
    history.write(conversations.change, "", ids[1], None, {"settings": Settings(system="Be brief.")}).result()
    before = exported(history)
    assert before.conversations[2].settings == Settings(system="Be brief.")
    assert [one.id for one in before.conversations] == [ids[0], ids[2], ids[1]]
    data = msgspec.json.decode(b"".join(exchange.as_json(history, "")))
    history.write(conversations.purge, "").result()
    taken = intake.take_in(history, "", data, MOST)
    assert (taken.imported, taken.skipped) == (3, 0)
    after = exported(history)
    for one, other in zip(before.conversations, after.conversations, strict=True):
        assert msgspec.structs.replace(one, version=1) == other
    found = history.read(conversations.page, "", query="edited").result().conversations
    assert [head.id for head in found] == [ids[0]], "imported words are found"


def test_what_is_there_is_not_taken_twice_and_nothing_is_overwritten(history: History) -> None:
    ids = fill(history)
    data = msgspec.json.decode(b"".join(exchange.as_json(history, "", ids[2])))
    assert intake.take_in(history, "", data, MOST).skipped == 1
    answered(history, "later", conversation_id=ids[2], after_latest=True)
    taken = intake.take_in(history, "", data, MOST)
    assert taken.imported == 1
    assert taken.conversation_ids[0] not in ids
    assert len(history.read(conversations.get, "", ids[2]).result().messages) == 4
    assert len(history.read(conversations.get, "", taken.conversation_ids[0]).result().messages) == 2
    assert intake.take_in(history, "", data, MOST).skipped == 1, "nor is the copy"
    others = intake.take_in(history, "somebody", data, MOST)
    assert others.conversation_ids[0] != ids[2]


def test_markdown_is_the_branch_that_was_written_to_last(history: History) -> None:
    ids = fill(history)
    page = history.read(exchange.as_markdown, "", ids[0]).result().decode()
    assert page.startswith("# 题\n")
    assert "**User**\n\nedited\n\n**Assistant**\n\n2" in page
    assert "一" not in page
    assert "(running)" in history.read(exchange.as_markdown, "", ids[1]).result().decode()
    assert history.read(exchange.as_markdown, "").result().decode().count("\n---\n") == 2
    with pytest.raises(NotFound):
        history.read(exchange.as_markdown, "somebody", ids[0]).result()


CHATGPT = [
    {
        "title": "Old talk",
        "create_time": 1700000000.5,
        "mapping": {
            "root": {"message": None, "parent": None, "children": ["s"]},
            "s": {
                "message": {"author": {"role": "system"}, "content": {"parts": [""]}},
                "parent": "root",
                "children": ["q", "q2"],
            },
            "q": {
                "message": {"author": {"role": "user"}, "content": {"parts": ["问"]}},
                "parent": "s",
                "children": ["a"],
            },
            "a": {
                "message": {"author": {"role": "assistant"}, "content": {"parts": ["答"]}},
                "parent": "q",
                "children": [],
            },
            "q2": {
                "message": {"author": {"role": "user"}, "content": {"parts": ["问2"]}},
                "parent": "s",
                "children": ["q2"],
            },
        },
    }
]
MESSAGES = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    {"role": "assistant", "content": "c"},
]


def test_a_chatgpt_export_keeps_its_branches(history: History) -> None:
    (id,) = intake.take_in(history, "", CHATGPT, MOST).conversation_ids
    kept = history.read(conversations.get, "", id).result()
    assert (kept.title, kept.created) == ("Old talk", 1700000000500)
    q, a, q2 = kept.messages
    assert [(q.content, q.parent_id), (a.content, a.parent_id), (q2.content, q2.parent_id)] == [
        ("问", None),
        ("答", q.id),
        ("问2", None),
    ]


@pytest.mark.parametrize("document", [MESSAGES, {"messages": MESSAGES}, [{"messages": MESSAGES}]])
def test_openai_style_messages(history: History, document: object) -> None:
    (one,) = intake.found_in(document).conversations
    assert [(node.role, node.content) for node in one.messages] == [
        ("system", "Be brief."),
        ("user", "a\nb"),
        ("assistant", "c"),
    ]
    assert history.write(intake.take, "", [one]).result()[0].imported == 1
    answered(history, "go on", conversation_id=one.id, after_latest=True)


def damaged(**changes: object) -> dict[str, object]:
    node = {
        "id": "m-1",
        "seq": 1,
        "parent_id": None,
        "role": "user",
        "content": "x",
        "status": "complete",
        "created": 1,
    }
    one = {"id": "c-1", "title": "t", "version": 1, "pinned": False, "created": 1, "updated": 1}
    return {"format": "edgechat", "version": 1, "exported": "", "conversations": [one | {"messages": [node | changes]}]}


def test_a_file_of_before_attachments_is_taken_too(history: History) -> None:
    assert intake.take_in(history, "", damaged(), MOST).imported == 1


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        1,
        None,
        "text",
        [1],
        [[]],
        {"messages": []},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "robot", "content": "x"}]},
        {"mapping": {}},
        {"format": "edgechat", "version": 4, "conversations": []},
        {"format": "other", "version": 1},
        {"format": "edgechat", "version": 1},
        damaged(parent_id="m-2"),
        damaged(parent_id="m-1"),
        damaged(role="robot"),
        damaged(status="odd"),
        damaged(created=-1),
        damaged(created=1 << 60),
        damaged(content=None),
        damaged(more=1),
    ],
)
def test_what_is_no_conversation_is_refused_with_the_place(document: object) -> None:
    with pytest.raises(InvalidRequest):
        intake.found_in(document)


def test_an_import_is_all_or_nothing(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(history)
    data = msgspec.json.decode(b"".join(exchange.as_json(history, "")))
    history.write(conversations.purge, "").result()
    found = intake.found_in(data).conversations
    put, calls = intake._put, []

    def fails_at_the_last(*arguments: object) -> str:
        calls.append(1)
        if len(calls) == 3:
            raise InvalidRequest("the third one cannot be stored.")
        return put(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(intake, "_put", fails_at_the_last)
    with pytest.raises(InvalidRequest):
        history.write(intake.take, "", found).result()
    assert history.read(conversations.page, "").result().conversations == ()
