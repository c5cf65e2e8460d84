"""Asking, reading, stopping, editing: what the page does with an answer."""

import pytest

from tests.browser.conftest import Chat
from tests.browser.scripted import Gate, Script, delta, failed, finish, problem

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
expect = sync_api.expect
pytestmark = pytest.mark.browser


def test_an_answer_streams_in(chat: Chat, script: Script) -> None:
    first, second = Gate(), Gate()
    script.will(first, delta("Paris"), second, delta(" is the capital."), *finish())
    expect(chat.input).to_be_focused()
    chat.ask("What is the capital of France?")
    expect(chat.questions.locator(".text")).to_have_text("What is the capital of France?")
    expect(chat.input).to_have_value("")
    expect(chat.answers.last.locator(".wait")).to_be_visible()
    expect(chat.status).to_have_text("Reading your text…")
    first.set()
    expect(chat.answer).to_have_text("Paris")
    expect(chat.answers.last.locator(".wait")).to_be_hidden()
    expect(chat.button("Stop the answer")).to_be_visible()
    second.set()
    expect(chat.answer).to_have_text("Paris is the capital.")
    expect(chat.answers.last.locator(".figures")).to_have_text("412 tokens · 6.2 tok/s · first after 1.8 s")
    expect(chat.page.locator("#context-text")).to_have_text("432 / 4,096")
    expect(chat.button("Send")).to_be_visible()
    expect(chat.page.locator("#announcer")).to_have_text("Answer finished, 4 words")
    assert script.requests == [
        {"conversation_id": None, "parent_id": None, "content": "What is the capital of France?"}
    ]


def test_the_next_question_follows_the_answer(chat: Chat, script: Script) -> None:
    script.will_say("\n\n Hello!")
    script.will_say("Fine.", tokens=1, speed=None)
    chat.ask("Hi")
    expect(chat.answer).to_have_text("Hello!")
    expect(chat.button("Send")).to_be_visible()
    chat.ask("How are you?")
    expect(chat.answer).to_have_text("Fine.")
    expect(chat.answers.last.locator(".figures")).to_have_text("1 token · first after 1.8 s")
    (conversation,) = script.records.conversations.values()
    answer = conversation["messages"][1]
    assert script.requests[1] == {
        "conversation_id": conversation["id"],
        "parent_id": answer["id"],
        "content": "How are you?",
    }
    expect(chat.page).to_have_title("Hi · edgechat")
    assert chat.page.url.endswith(f"?c={conversation['id']}")


@pytest.mark.parametrize("way", ["button", "Escape"])
def test_stop_keeps_the_text(chat: Chat, script: Script, way: str) -> None:
    script.will(delta("Once upon a time"), Gate(), *finish())
    chat.ask("Tell me a story")
    expect(chat.answer).to_have_text("Once upon a time")
    if way == "button":
        chat.button("Stop the answer").click()
    else:
        chat.page.keyboard.press("Escape")
    expect(chat.answers.last.locator(".badge")).to_have_text("Stopped")
    expect(chat.answer).to_have_text("Once upon a time")
    expect(chat.button("Send")).to_be_visible()
    assert len(script.stopped) == 1
    expect(chat.answers.last.locator(".figures")).to_contain_text("7 tokens")


@pytest.mark.parametrize("how", ["here", "after a reload"])
def test_an_answer_goes_on_where_it_was_stopped(chat: Chat, script: Script, how: str) -> None:
    """In the same answer: no question is shown, and none is stored. What stands there does not move."""
    script.will(delta("- One\n- Two, th"), Gate(), *finish())
    chat.ask("Count")
    expect(chat.answer.locator("li")).to_have_text(["One", "Two, th"])
    chat.button("Stop the answer").click()
    if how == "after a reload":
        chat.page.reload()
    gate = Gate()
    script.will(delta("ree\n- Four"), gate, delta("\n- Five"), *finish(tokens=20))
    chat.button("Continue").click()
    expect(chat.answer.locator("li")).to_have_text(["One", "Two, three", "Four"])
    expect(chat.button("Continue")).to_have_count(0)
    expect(chat.input).to_be_focused()
    chat.page.reload()
    expect(chat.answer.locator("li")).to_have_text(["One", "Two, three", "Four"])
    gate.set()
    expect(chat.answer.locator("li")).to_have_text(["One", "Two, three", "Four", "Five"])
    expect(chat.answers.last.locator(".figures")).to_contain_text("20 tokens")
    expect(chat.questions).to_have_count(1)
    (conversation,) = script.records.conversations.values()
    _, answer = conversation["messages"]
    assert answer["content"] == "- One\n- Two, three\n- Four\n- Five"
    last = script.requests[-1]
    assert (last["conversation_id"], last["continues"]) == (conversation["id"], answer["id"])
    assert not {"content", "parent_id"} & set(last)


def test_what_cannot_go_on_now_stays_and_can_later(chat: Chat, script: Script) -> None:
    script.will_say("Once upon", reason="length")
    chat.ask("Tell me a story")
    script.will_refuse(503, problem("model_not_ready", "it is loaded again"))
    chat.button("Continue").click()
    expect(chat.answers.last.get_by_role("alert")).to_contain_text("The model is not ready.")
    expect(chat.answer).to_have_text("Once upon")
    script.will(delta(" a"), failed("engine_failed", "gone"))
    chat.button("Continue").click()
    expect(chat.answers.last.get_by_role("alert")).to_contain_text("The model stopped in the middle.")
    expect(chat.answer).to_have_text("Once upon a")
    script.will_say(" time.")
    chat.button("Continue").click()
    expect(chat.answer).to_have_text("Once upon a time.")
    expect(chat.answers.last.get_by_role("alert")).to_have_count(0)


def test_what_is_sent_meanwhile_waits_for_the_end(chat: Chat, script: Script) -> None:
    gate = Gate()
    script.will(delta("First"), gate, *finish())
    chat.ask("One")
    expect(chat.answer).to_have_text("First")
    chat.ask("Two")
    expect(chat.input).to_have_value("")
    expect(chat.page.locator("#following-text")).to_have_text("Two")
    chat.button("Edit").last.click()
    expect(chat.input).to_have_value("Two")
    expect(chat.page.locator("#following")).to_be_hidden()
    chat.input.press("Enter")
    assert len(script.requests) == 1
    script.will_say("Second")
    gate.set()
    expect(chat.answer).to_have_text("Second")
    expect(chat.page.locator("#following")).to_be_hidden()
    assert script.requests[1]["content"] == "Two"


def test_what_waits_comes_back_when_the_answer_broke(chat: Chat, script: Script) -> None:
    gate = Gate()
    script.will(delta("First"), gate, failed("engine_failed", "gone"))
    chat.ask("One")
    chat.ask("Two")
    gate.set()
    expect(chat.answers.last.get_by_role("alert")).to_be_visible()
    expect(chat.input).to_have_value("Two")
    assert len(script.requests) == 1


# Versions


def test_another_answer_keeps_the_first(chat: Chat, script: Script) -> None:
    script.will_say("Version one.")
    script.will_say("Version two.")
    chat.ask("Tell me")
    expect(chat.answers.last.locator(".figures")).to_be_attached()
    chat.button("Regenerate").click()
    expect(chat.answer).to_have_text("Version two.")
    expect(chat.answers).to_have_count(1)
    question = script.records.conversations["c-1"]["messages"][0]
    assert script.requests[1] == {"conversation_id": "c-1", "parent_id": question["id"]}
    place = chat.answers.last.locator(".place")
    expect(place).to_have_text("2/2")
    expect(place).to_have_attribute("aria-label", "Version 2 of 2")
    chat.button("Previous version").last.click()
    expect(chat.answer).to_have_text("Version one.")
    expect(place).to_have_text("1/2")
    chat.open("?lang=en&c=c-1")  # the branch is kept over a reload
    expect(chat.answer).to_have_text("Version one.")
    expect(chat.answers.last.locator(".place")).to_have_text("1/2")


def test_an_edit_is_a_branch(chat: Chat, script: Script) -> None:
    script.will_say("Cats sleep a lot.")
    script.will_say("They do.")
    script.will_say("Dogs run.")
    chat.ask("Tell me about cats")
    expect(chat.answers.last.locator(".figures")).to_be_attached()
    chat.ask("Really?")
    expect(chat.answer).to_have_text("They do.")
    expect(chat.answers.last.locator(".figures")).to_be_attached()
    chat.questions.first.hover()
    chat.questions.first.get_by_role("button", name="Edit").click()
    field = chat.page.get_by_role("textbox", name="Edit")
    expect(field).to_be_focused()
    field.fill("Tell me about dogs")
    chat.questions.first.get_by_role("button", name="Send").click()
    expect(chat.answer).to_have_text("Dogs run.")
    expect(chat.questions).to_have_count(1)
    expect(chat.questions.first.locator(".place")).to_have_text("2/2")
    assert script.requests[2] == {"conversation_id": "c-1", "parent_id": None, "content": "Tell me about dogs"}
    chat.questions.first.get_by_role("button", name="Previous version").click()
    expect(chat.questions).to_have_count(2)
    expect(chat.answer).to_have_text("They do.")
    expect(chat.questions.first.locator(".text")).to_have_text("Tell me about cats")


def test_an_edit_can_be_left(chat: Chat, script: Script) -> None:
    script.will_say("Fine.")
    chat.ask("Hello")
    expect(chat.answers.last.locator(".figures")).to_be_attached()
    chat.page.keyboard.press("ArrowUp")  # in the empty box: the last question
    field = chat.page.get_by_role("textbox", name="Edit")
    field.fill("Something else")
    chat.page.keyboard.press("Escape")
    expect(chat.questions.locator(".text")).to_have_text("Hello")
    assert len(script.requests) == 1


def test_an_example_is_a_question(chat: Chat, script: Script) -> None:
    script.will_say("Because of scattering.")
    example = chat.page.locator("#examples button").first
    text = example.inner_text()
    example.click()
    expect(chat.answer).to_have_text("Because of scattering.")
    assert script.requests[0]["content"] == text
