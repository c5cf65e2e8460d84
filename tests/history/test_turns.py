import pytest

from edgechat.errors import InvalidRequest, KeyReused, NotFound
from edgechat.history import conversations, turns
from edgechat.history.records import Failure, Outcome, Settings, Turn
from edgechat.history.store import History
from edgechat.types import Message
from tests.history.conftest import answered, ask


def test_a_turn_is_a_question_and_an_answer_to_come(history: History) -> None:
    started = ask(history, "What is it?")
    kept = history.read(conversations.get, "", started.conversation_id).result()
    question, answer = kept.messages
    assert (question.seq, question.role, question.content, question.status) == (1, "user", "What is it?", "complete")
    assert (answer.seq, answer.parent_id, answer.status, answer.run_id) == (2, question.id, "running", started.run_id)
    assert kept.title == "What is it?"
    assert kept.version == 1


def test_a_title_has_no_marks_of_markdown(history: History) -> None:
    started = ask(history, "# Title\n\n- use `__init__` in **a_b_c**\n2 * 3 > 1")
    kept = history.read(conversations.get, "", started.conversation_id).result()
    assert kept.title == "Title use __init__ in a_b_c 2 * 3 > 1"


def test_edits_and_second_answers_are_branches(history: History) -> None:
    first = answered(history, "one", "1")
    more = answered(history, "two", "2", conversation_id=first.conversation_id, parent_id=first.answer_id)
    again = ask(history, None, conversation_id=first.conversation_id, parent_id=more.message_id)
    edited = answered(history, "ONE", "I", conversation_id=first.conversation_id, parent_id=None)
    last = ask(history, "three", conversation_id=first.conversation_id, after_latest=True)
    nodes = {node.id: node for node in history.read(conversations.get, "", first.conversation_id).result().messages}
    assert nodes[again.answer_id].parent_id == more.message_id == again.message_id
    assert nodes[edited.message_id].parent_id is None
    assert nodes[last.message_id].parent_id == edited.answer_id
    assert [node.seq for node in nodes.values()] == list(range(1, len(nodes) + 1))
    said = history.read(turns.path, more.answer_id).result()
    assert said == [
        Message.of("user", "one"),
        Message.of("assistant", "1"),
        Message.of("user", "two"),
        Message.of("assistant", "2"),
    ]
    assert [m.text for m in history.read(turns.path, last.message_id).result()] == ["ONE", "I", "three"]


def test_what_a_turn_leaves_open_is_the_conversations_own(history: History) -> None:
    """For a new message and for another answer alike; what the turn says comes first, each by itself."""
    own = Settings(model="small", system="Be brief.", temperature=0.2)
    first = answered(history, settings=own)
    id = first.conversation_id
    ask(history, "more", conversation_id=id, after_latest=True, params={"temperature": 1.0, "seed": 3})
    ask(history, None, conversation_id=id, parent_id=first.message_id, model="large")
    kept = history.read(conversations.get, "", id).result()
    assert kept.settings == own
    given = [(node.model, node.params) for node in kept.messages if node.role == "assistant"]
    assert given == [
        ("small", {"system": "Be brief.", "temperature": 0.2}),
        ("small", {"system": "Be brief.", "temperature": 1.0, "seed": 3}),
        ("large", {"system": "Be brief.", "temperature": 0.2}),
    ]
    other = Turn(conversation_id=id)
    assert history.read(conversations.completed, "somebody", other).result() == other
    changed = history.write(conversations.change, "", id, kept.version, {"settings": None}).result()
    assert changed.settings is None


def test_what_a_turn_hangs_on_is_checked(history: History) -> None:
    mine, other = answered(history), answered(history)
    foreign = answered(history, owner="somebody")
    c = mine.conversation_id
    for turn, error in [
        (Turn(content=None), InvalidRequest),
        (Turn(conversation_id="c-0", content="x"), NotFound),
        (Turn(conversation_id=foreign.conversation_id, content="x"), NotFound),
        (Turn(conversation_id=c, parent_id=other.answer_id, content="x"), NotFound),
        (Turn(conversation_id=c, parent_id=foreign.answer_id, content="x"), NotFound),
        (Turn(conversation_id=c, parent_id=mine.message_id, content="x"), InvalidRequest),
        (Turn(conversation_id=c, parent_id=mine.answer_id, content=None), InvalidRequest),
        (Turn(conversation_id=c, parent_id=None, content=None), InvalidRequest),
    ]:
        with pytest.raises(error):
            history.write(turns.begin, "", turn, "lease").result()
    assert len(history.read(conversations.get, "", c).result().messages) == 2


def test_an_answer_that_ended_early_is_gone_on_with(history: History) -> None:
    first = ask(history)
    c = first.conversation_id
    go_on = Turn(conversation_id=c, content=None, continues=first.answer_id)
    with pytest.raises(InvalidRequest, match="already"):
        history.write(turns.begin, "", go_on, "lease").result()
    history.write(turns.finish, first.answer_id, Outcome("stopped", "One, two", finish_reason="stopped")).result()
    again, new = history.write(turns.begin, "", go_on, "lease", "key").result()
    assert new
    assert (again.message_id, again.answer_id) == (first.message_id, first.answer_id)
    assert history.write(turns.begin, "", go_on, "lease", "key").result() == (again, False)
    question, answer = history.read(conversations.get, "", c).result().messages
    assert (answer.content, answer.status, answer.run_id) == ("One, two", "running", again.run_id)
    assert history.read(turns.leases).result() == {"lease"}, "the process of its first run has nothing to do with it"
    assert history.write(turns.abandon, {history.lease}).result() == 0
    assert history.write(turns.abandon, {"lease"}).result() == 1
    _, answer = history.read(conversations.get, "", c).result().messages
    assert (answer.content, answer.status) == ("One, two", "interrupted")
    for turn, error in [
        (Turn(conversation_id=c, continues=question.id), NotFound),
        (Turn(conversation_id=c, continues="m-0"), NotFound),
        (Turn(conversation_id=answered(history).conversation_id, continues=answer.id), NotFound),
    ]:
        with pytest.raises(error):
            history.write(turns.begin, "", turn, "lease").result()
    ask(history, "more", conversation_id=c, parent_id=answer.id)
    with pytest.raises(InvalidRequest, match="end of its conversation"):
        history.write(turns.begin, "", go_on, "lease").result()


def test_a_key_makes_a_turn_happen_once(history: History) -> None:
    turn = Turn(content="once")
    first, new = history.write(turns.begin, "", turn, "lease", "key").result()
    assert new
    assert history.write(turns.begin, "", turn, "lease", "key").result() == (first, False)
    with pytest.raises(KeyReused):
        history.write(turns.begin, "", Turn(content="other"), "lease", "key").result()
    assert history.write(turns.begin, "other owner", turn, "lease", "key").result()[1]
    assert len(history.read(conversations.page, "").result().conversations) == 1


def test_an_answer_ends_once(history: History) -> None:
    started = ask(history)
    history.write(turns.checkpoint, started.answer_id, "Hal", "hm", "qwen").result()
    (_, answer) = history.read(conversations.get, "", started.conversation_id).result().messages
    assert (answer.content, answer.reasoning, answer.status, answer.model) == ("Hal", "hm", "running", "qwen")
    error = Failure("engine_failed", "gone", retryable=True)
    assert history.write(turns.finish, started.answer_id, Outcome("error", "Hall", error=error)).result()
    assert not history.write(turns.finish, started.answer_id, Outcome("complete", "other")).result()
    history.write(turns.checkpoint, started.answer_id, "late", "", "other").result()
    answer = history.read(turns.answer_of, "", started.run_id).result()
    assert (answer.content, answer.status, answer.error, answer.model) == ("Hall", "error", error, "qwen")
    with pytest.raises(NotFound):
        history.read(turns.answer_of, "somebody", started.run_id).result()


def test_strange_text_is_kept_as_it_is(history: History) -> None:
    text = "a\0b\u2028c\r\n<|im_end|> 🙂 \x1b[0m"
    started = answered(history, text, text)
    assert [m.content for m in history.read(conversations.get, "", started.conversation_id).result().messages] == [
        text
    ] * 2
