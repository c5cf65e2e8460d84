import pytest

from edgechat.errors import InvalidRequest, NotFound
from edgechat.history import conversations, removal, turns
from edgechat.history.records import Started, Turn
from edgechat.history.store import History
from tests.history.conftest import answered, ask


def texts(history: History, id: str) -> list[str]:
    return [node.content for node in history.read(conversations.get, "", id).result().messages]


def three(history: History) -> tuple[str, list[Started]]:
    """A conversation of three turns, the second answered twice."""
    first = answered(history, "one", "1")
    id = first.conversation_id
    second = answered(history, "two", "2", conversation_id=id, parent_id=first.answer_id)
    again = answered(history, None, "2b", conversation_id=id, parent_id=second.message_id)  # type: ignore[arg-type]
    third = answered(history, "three", "3 slow words", conversation_id=id, parent_id=again.answer_id)
    return id, [first, second, again, third]


def test_a_message_goes_with_what_follows_and_comes_back(history: History) -> None:
    id, (first, second, again, third) = three(history)
    before = history.read(conversations.get, "", id).result()
    left = history.write(removal.delete, "", id, again.answer_id).result()
    assert [node.content for node in left.messages] == ["one", "1", "two", "2"]
    assert left.version == before.version + 1
    assert history.read(conversations.page, "", query="slow").result().conversations == ()
    assert history.read(conversations.page, "", query="!?").result().conversations == ()
    for gone in (third.answer_id, again.answer_id):
        with pytest.raises(NotFound):
            history.write(removal.delete, "", id, gone).result()
        with pytest.raises(NotFound):
            history.write(turns.begin, "", Turn(conversation_id=id, parent_id=gone, content="x"), "lease").result()
    with pytest.raises(NotFound):
        history.read(turns.answer_of, "", third.run_id).result()
    new = ask(history, "new", conversation_id=id, after_latest=True)
    nodes = {node.id: node for node in history.read(conversations.get, "", id).result().messages}
    assert nodes[new.message_id].parent_id == second.answer_id
    assert nodes[new.message_id].seq == len(before.messages) + 1, "numbers are never given twice"
    history.write(turns.abandon, {history.lease}).result()
    whole = history.write(removal.restore, "", id, again.answer_id).result()
    assert [node for node in whole.messages if node.id in {one.id for one in before.messages}] == list(before.messages)
    assert history.read(conversations.page, "", query="slow").result().conversations[0].id == id
    assert history.write(removal.restore, "", id, first.answer_id).result() == whole


def test_the_last_answer_takes_its_question_along(history: History) -> None:
    id, (first, second, again, _) = three(history)
    history.write(removal.delete, "", id, again.answer_id).result()
    history.write(removal.delete, "", id, second.answer_id).result()
    assert texts(history, id) == ["one", "1"]
    with pytest.raises(NotFound, match="deleted too"):
        history.write(removal.restore, "", id, again.answer_id).result()
    history.write(removal.restore, "", id, second.answer_id).result()
    history.write(removal.restore, "", id, again.answer_id).result()
    assert texts(history, id) == ["one", "1", "two", "2", "2b", "three", "3 slow words"]
    assert history.write(removal.delete, "", id, first.message_id).result().messages == ()


def test_what_was_deleted_is_listed_by_what_brings_it_back(history: History) -> None:
    id, (_, second, again, _) = three(history)
    title = history.read(conversations.get, "", id).result().title

    def listed(owner: str = "", limit: int = 9) -> list[str]:
        found = history.read(removal.page, owner, limit).result()
        assert {(one.conversation_id, one.title) for one in found} <= {(id, title)}
        return [one.snippet[0].t for one in found]

    assert listed() == []
    history.write(removal.delete, "", id, again.answer_id).result()
    assert listed() == ["2b"]
    history.write(removal.delete, "", id, second.answer_id).result()
    assert listed() == ["two"], "what hung on it comes later"
    assert listed("somebody") == []
    history.write(removal.restore, "", id, second.message_id).result()
    assert listed() == ["2b"]
    history.write(conversations.delete, "", id).result()
    assert listed() == [], "it comes back with its conversation"
    history.write(conversations.restore, "", id).result()
    other = answered(history, "newer", "newest", conversation_id=id, after_latest=True)
    history.write(removal.delete, "", id, other.answer_id).result()
    assert (listed(), listed(limit=1)) == (["newer", "2b"], ["newer"])


def test_what_is_being_written_is_not_deleted(history: History) -> None:
    started = ask(history, "one")
    for message in (started.message_id, started.answer_id):
        with pytest.raises(InvalidRequest, match="stop it first"):
            history.write(removal.delete, "", started.conversation_id, message).result()
    assert texts(history, started.conversation_id) == ["one", ""]


def test_deleted_messages_are_destroyed_at_last(history: History) -> None:
    id, (_, _, again, _) = three(history)
    history.write(removal.delete, "", id, again.answer_id).result()
    now = conversations.now()
    assert history.write(removal.purge_old, now - 1000).result() == []
    assert history.write(removal.purge_old, now + 1000).result() == [id]
    history.scrub().result()
    assert texts(history, id) == ["one", "1", "two", "2"]
    for file in history.folder.iterdir():
        assert b"slow" not in file.read_bytes(), file
    with pytest.raises(NotFound):
        history.write(removal.restore, "", id, again.answer_id).result()


def test_nobody_deletes_or_restores_somebody_elses(history: History) -> None:
    mine = answered(history, "mine", owner="a")
    for change in (removal.delete, removal.restore):
        with pytest.raises(NotFound):
            history.write(change, "b", mine.conversation_id, mine.answer_id).result()
        with pytest.raises(NotFound):
            history.write(change, "a", answered(history, owner="a").conversation_id, mine.answer_id).result()
