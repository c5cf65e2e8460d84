import pytest

from edgechat.errors import InvalidRequest, NotFound, Stale
from edgechat.history import conversations
from edgechat.history.records import Conversation
from edgechat.history.store import History
from tests.history.conftest import answered, ask


def test_lists_come_in_parts_pinned_first_then_by_last_change(history: History) -> None:
    ids = [answered(history, f"number {n}").conversation_id for n in range(5)]
    history.write(conversations.change, "", ids[1], None, {"pinned": True}).result()
    ask(history, "again", conversation_id=ids[0], after_latest=True)
    seen, cursor = [], None
    while True:
        part = history.read(conversations.page, "", cursor, limit=2).result()
        seen += [head.id for head in part.conversations]
        cursor = part.next
        if cursor is None:
            break
    assert seen == [ids[1], ids[0], ids[4], ids[3], ids[2]]
    for cursor in ("x", "2.1", "0.", "0.999999999999999999999", "1.-1"):
        with pytest.raises(InvalidRequest):
            history.read(conversations.page, "", cursor).result()


def test_a_stale_version_changes_nothing_and_shows_the_current_one(history: History) -> None:
    id = answered(history).conversation_id
    seen = history.read(conversations.get, "", id).result()
    newer = history.write(conversations.change, "", id, seen.version, {"title": "  a \n b "}).result()
    assert newer.title == "a b"
    with pytest.raises(Stale) as caught:
        history.write(conversations.change, "", id, seen.version, {"title": "late"}).result()
    assert caught.value.current == newer
    assert history.write(conversations.change, "", id, None, {"pinned": True}).result().title == "a b"


def test_the_model_finds_a_title_only_where_nobody_did(history: History) -> None:
    id = answered(history, "one").conversation_id
    assert history.read(conversations.wants_title, id).result()
    assert history.write(conversations.entitle, "", id, "Found").result()
    assert not history.read(conversations.wants_title, id).result()
    history.write(conversations.change, "", id, None, {"title": "Mine"}).result()
    assert not history.write(conversations.entitle, "", id, "Other").result()
    assert history.read(conversations.get, "", id).result().title == "Mine"


def test_deleting_can_be_undone_until_it_is_purged(history: History) -> None:
    started = answered(history, "secret words")
    id = started.conversation_id
    before = history.read(conversations.get, "", id).result()
    assert history.write(conversations.delete, "", id).result() == 1
    assert history.read(conversations.page, "").result().conversations == ()
    assert history.read(conversations.page, "", query="secret").result().conversations == ()
    assert [head.id for head in history.read(conversations.page, "", deleted=True).result().conversations] == [id]
    for refused in (
        lambda: history.write(conversations.delete, "", id),
        lambda: history.write(conversations.change, "", id, None, {"title": "x"}),
    ):
        with pytest.raises(NotFound):
            refused().result()
    assert history.write(conversations.restore, "", id).result().messages == before.messages
    assert history.write(conversations.purge, "", id).result() == [id]
    history.scrub().result()
    with pytest.raises(NotFound):
        history.read(conversations.get, "", id).result()
    for file in history.folder.iterdir():
        assert b"secret" not in file.read_bytes(), file


def test_what_was_deleted_long_ago_goes_by_itself(history: History) -> None:
    old, kept = answered(history).conversation_id, answered(history).conversation_id
    history.write(conversations.delete, "", old).result()
    now = conversations.now()
    assert history.write(conversations.purge_old, now - 1000).result() == []
    assert history.write(conversations.purge_old, now + 1000).result() == [old]
    assert isinstance(history.read(conversations.get, "", kept).result(), Conversation)


def test_nobody_reaches_what_is_somebody_elses(history: History) -> None:
    id = answered(history, "mine", owner="a").conversation_id
    assert history.read(conversations.page, "b", query="mine").result().conversations == ()
    for refused in (
        lambda: history.read(conversations.get, "b", id),
        lambda: history.write(conversations.change, "b", id, None, {"title": "x"}),
        lambda: history.write(conversations.delete, "b", id),
        lambda: history.write(conversations.restore, "b", id),
        lambda: history.write(conversations.purge, "b", id),
    ):
        with pytest.raises(NotFound) as caught:
            refused().result()
        assert str(caught.value) == f"there is no conversation {id!r}."
    assert history.write(conversations.delete, "b").result() == 0
    assert not history.write(conversations.entitle, "b", id, "x").result()
    assert history.read(conversations.get, "a", id).result().title == "mine"
