"""Asking, reading, stopping, editing, failing: what the page does with an answer."""

import re
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import Chat, Open
from tests.browser.scripted import Cut, Gate, Part, Script, delta, failed, finish, problem, thought

if TYPE_CHECKING:
    from playwright.sync_api import Locator

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
    script.will_say("And they lived.")
    chat.button("Continue").click()
    expect(chat.button("Continue")).to_have_count(0)  # the next question stands behind it
    expect(chat.answer).to_have_text("And they lived.")
    assert script.requests[1]["content"] == "Please continue."


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


# The run belongs to the server


def test_a_reload_reads_on(chat: Chat, script: Script) -> None:
    gate = Gate()
    script.will(delta("Half "), delta("of it, "), gate, delta("and the rest."), *finish())
    chat.ask("Go")
    expect(chat.answer).to_have_text("Half of it,")
    chat.page.reload()
    expect(chat.answer).to_have_text("Half of it,")
    expect(chat.button("Stop the answer")).to_be_visible()
    gate.set()
    expect(chat.answer).to_have_text("Half of it, and the rest.")
    expect(chat.answers).to_have_count(1)
    assert script.stopped == []


def test_a_broken_line_is_taken_up_where_it_broke(chat: Chat, script: Script) -> None:
    words = [delta(f"word {n} ") for n in range(40)]
    first, second = Gate(), Gate()
    script.will(*words[:15], first, Cut(), *words[15:30], second, Cut(), *words[30:], *finish())
    chat.ask("Count")
    expect(chat.answer).to_contain_text("word 14")
    first.set()
    expect(chat.status).to_have_text("Connection lost. The answer goes on; reconnecting…")
    expect(chat.answer).to_contain_text("word 29")
    second.set()
    expect(chat.answers.last.locator(".figures")).to_be_attached()
    expect(chat.answer).to_have_text(" ".join(f"word {n}" for n in range(40)))
    assert script.resumed == [None, "15", "30"]


def test_going_elsewhere_stops_nothing(chat: Chat, script: Script) -> None:
    gate = Gate()
    script.will(delta("Half an answer"), gate, delta(", whole."), *finish())
    chat.ask("Hello")
    expect(chat.answer).to_have_text("Half an answer")
    chat.button("New chat").first.click()
    expect(chat.page.locator("#empty")).to_be_visible()
    expect(chat.button("Send")).to_be_visible()
    expect(chat.input).to_be_focused()
    chat.rows.first.locator("a").click()
    expect(chat.answer).to_have_text("Half an answer")
    expect(chat.button("Stop the answer")).to_be_visible()
    gate.set()
    expect(chat.answer).to_have_text("Half an answer, whole.")
    assert script.stopped == []


def test_a_server_that_was_started_anew(chat: Chat, script: Script) -> None:
    script.will(delta("So far"), Gate())
    chat.ask("Hello")
    expect(chat.answer).to_have_text("So far")
    script.records.conversations["c-1"]["messages"][1]["content"] = "So far"
    script.restart()
    alert = chat.answers.last.get_by_role("alert")
    expect(alert).to_contain_text("The answer was interrupted: the server was restarted.", timeout=15_000)
    expect(chat.answer).to_have_text("So far")
    script.will_say("Whole.")
    chat.button("Try again").click()
    expect(chat.answer).to_have_text("Whole.")
    assert "content" not in script.requests[1]


def test_the_back_button_goes_through_the_conversations(chat: Chat, script: Script) -> None:
    script.will_say("One.")
    chat.ask("First")
    expect(chat.answers.last.locator(".figures")).to_be_attached()
    chat.button("New chat").first.click()
    script.will_say("Two.")
    chat.ask("Second")
    expect(chat.answer).to_have_text("Two.")
    expect(chat.answers.last.locator(".figures")).to_be_attached()
    chat.page.go_back()
    expect(chat.page.locator("#empty")).to_be_visible()
    chat.page.go_back()
    expect(chat.answer).to_have_text("One.")


# Refusals and errors


def test_an_example_is_a_question(chat: Chat, script: Script) -> None:
    script.will_say("Because of scattering.")
    example = chat.page.locator("#examples button").first
    text = example.inner_text()
    example.click()
    expect(chat.answer).to_have_text("Because of scattering.")
    assert script.requests[0]["content"] == text


def test_error_before_the_first_byte(chat: Chat, script: Script) -> None:
    script.will_refuse(500, problem("engine_failed", "the engine died <b>twice</b>"))
    chat.ask("Hello")
    alert = chat.answers.last.get_by_role("alert")
    expect(alert).to_contain_text("The model stopped in the middle.")
    expect(alert).to_contain_text("try again in a moment")
    alert.get_by_text("Details").click()
    expect(alert.locator(".raw")).to_have_text("the engine died <b>twice</b>")
    expect(chat.questions.locator(".text")).to_have_text("Hello")
    script.will_say("Back again.")
    chat.button("Try again").click()
    expect(chat.answer).to_have_text("Back again.")
    expect(alert).to_have_count(0)
    expect(chat.questions).to_have_count(1)
    assert script.requests[1] == script.requests[0]


def test_error_after_the_first_byte(chat: Chat, script: Script) -> None:
    script.will(delta("So far"), failed("engine_failed", "the engine's process ended"))
    chat.ask("Hello")
    expect(chat.answers.last.get_by_role("alert")).to_contain_text("The model stopped in the middle.")
    expect(chat.answer).to_have_text("So far")
    script.will_say("Whole.")
    chat.button("Try again").click()
    expect(chat.answer).to_have_text("Whole.")
    assert script.requests[1] == {"conversation_id": "c-1", "parent_id": "m-2"}


@pytest.mark.parametrize(
    ("status", "body", "said", "raw"),
    [
        (400, problem("new", "top_p is out of range"), "refused this request", "top_p is out of range"),
        (429, "slow down", "The server is busy", "slow down"),
        (502, "", "went wrong on the server", "HTTP 502"),
        (507, problem("out_of_memory", "needs 900 MB"), "not enough memory", "needs 900 MB"),
    ],
)
def test_any_refusal_is_told(chat: Chat, script: Script, status: int, body: str, said: str, raw: str) -> None:
    script.will_refuse(status, body)
    chat.ask("Hello")
    expect(chat.answers.last.get_by_role("alert")).to_contain_text(said)
    expect(chat.answers.last.locator(".raw")).to_have_text(raw)


def test_too_many_requests_are_counted_down_and_tried_once_more(chat: Chat, script: Script) -> None:
    script.will_refuse(429, problem("busy", "slow down"), **{"Retry-After": "2"})
    script.will_say("Now.")
    chat.ask("Hello")
    expect(chat.status).to_have_text(re.compile(r"Too many requests\. Again in [12] s\."))
    expect(chat.answer).to_have_text("Now.")
    assert script.keys[0] == script.keys[1]  # the same turn


def test_a_chat_that_no_longer_fits_can_start_over(chat: Chat, script: Script) -> None:
    script.will_refuse(400, problem("context_length_exceeded", "5000 of 4096"))
    chat.ask("A long question")
    chat.button("New chat with this question").click()
    expect(chat.answers).to_have_count(0)
    expect(chat.input).to_have_value("A long question")


def test_the_length_limit_is_named(chat: Chat, script: Script) -> None:
    script.will_say("A very long answ", reason="length")
    chat.ask("Go on")
    expect(chat.answers.last.locator(".badge")).to_have_text("Reached the length limit")
    expect(chat.button("Continue")).to_be_visible()


# Progress


def test_queue_loading_and_reading_are_shown(chat: Chat, script: Script) -> None:
    steps: dict[str, Part] = {
        "Place 3 in the queue · about 30 s": ("queued", {"position": 3, "eta_s": 30.2}),
        "Place 1 in the queue": ("queued", {"position": 1, "eta_s": None}),
        "Loading the model… 40%": ("loading", {"stage": "weights", "pct": 40.0}),
        "Loading the model…": ("loading", {"stage": "warm-up", "pct": None}),
        "Reading your text… 40% · 6 s left": ("prefill", {"done": 120, "total": 300, "eta_s": 6.3}),
        "Looking at your picture… 25% · 9 s left": (
            "media",
            {"sha256": "92ae", "stage": "encode", "done": 50, "total": 200, "eta_s": 9.2},
        ),
        "Reading your text… 80%": ("prefill", {"done": 240, "total": 300, "eta_s": None}),
    }
    gates = [Gate() for _ in steps]
    parts: list[Part] = [part for step, gate in zip(steps.values(), gates, strict=True) for part in (step, gate)]
    script.will(*parts, delta("Hi"), *finish())
    chat.ask("Hello")
    for said, gate in zip(steps, gates, strict=True):
        expect(chat.status).to_have_text(said)
        gate.set()
    expect(chat.answer).to_have_text("Hi")
    expect(chat.status).to_be_hidden()


def test_thoughts_open_and_close(chat: Chat, script: Script) -> None:
    gate = Gate()
    script.will(thought("Let me see. "), thought("Two and two…"), gate, delta("Four."), *finish())
    chat.ask("2 + 2?")
    thoughts = chat.answers.last.locator(".thoughts")
    expect(thoughts).to_have_attribute("open", "")
    expect(thoughts.locator(".text")).to_have_text("Let me see. Two and two…")
    expect(chat.page.locator("#announcer")).to_have_text("Thinking…")
    gate.set()
    expect(chat.answer).to_have_text("Four.")
    expect(thoughts).not_to_have_attribute("open", "")
    expect(thoughts.locator("summary")).to_have_text(re.compile(r"Thought for \d+ s"))
    chat.page.reload()
    expect(chat.answers.last.locator(".thoughts summary")).to_have_text("Thoughts")
    expect(chat.answer).to_have_text("Four.")


def test_the_whole_answer_replaces_what_is_there(chat: Chat, script: Script) -> None:
    script.will(delta("Hal"), ("snapshot", {"content": "Half of it", "reasoning": ""}), delta(" and all."), *finish())
    chat.ask("Go")
    expect(chat.answer).to_have_text("Half of it and all.")


def test_the_context_warns_before_it_is_full(chat: Chat, script: Script) -> None:
    script.will_say("Long.", used=3400)
    script.will_say("Longer.", used=4000)
    chat.ask("Hello")
    expect(chat.page.locator("#context.high")).to_contain_text("3,400 / 4,096")
    expect(chat.page.locator("#context-full")).to_be_hidden()
    expect(chat.button("Send")).to_be_visible()
    chat.ask("More")
    expect(chat.page.locator("#context-full")).to_contain_text("The oldest messages will be left out.")


def test_a_long_conversation_opens_at_its_end(new_chat: Open, script: Script) -> None:
    id = script.records.add("Long", *[f"text {n}" for n in range(300)])
    chat = new_chat().open(f"?lang=en&c={id}")
    expect(chat.page.locator("article")).to_have_count(60)
    expect(chat.answer).to_have_text("text 299")
    expect(chat.answers.last).to_be_in_viewport()
    first = chat.page.locator("article").first
    first.scroll_into_view_if_needed()
    before = top(first)
    chat.button("Show 240 earlier messages").click()
    expect(chat.page.locator("article")).to_have_count(300)
    assert top(chat.page.locator("article").nth(240)) == pytest.approx(before, abs=1), "what one reads stays there"


def top(element: "Locator") -> float:
    """Where an element begins, in pixels from the top of the window."""
    box = element.bounding_box()
    assert box is not None
    return box["y"]


def test_what_will_not_fit_goes_into_a_new_chat_as_a_summary(chat: Chat, script: Script) -> None:
    script.will_say("Long.", used=4000)
    gate = Gate()
    script.will(delta("We like "), gate, delta("cats."), *finish())
    chat.ask("Hello")
    chat.button("New chat with a summary").click()
    expect(chat.questions.last.locator(".text")).to_contain_text("Sum up our conversation so far")
    chat.button("New chat with a summary").click()
    expect(chat.status).to_have_text("An answer is still being written. Wait for it, or stop it first.")
    gate.set()
    expect(chat.page.locator("#empty")).to_be_visible()
    expect(chat.page.locator("#attached-text")).to_have_text("Our conversation so far: We like cats.")
    expect(chat.input).to_be_focused()
    script.will_say("Dogs, too.")
    chat.ask("And dogs?")
    expect(chat.answer).to_have_text("Dogs, too.")
    question = "And dogs?\n\nOur conversation so far:\n\nWe like cats."
    assert script.requests[2] == {"conversation_id": None, "parent_id": None, "content": question}


def test_a_summary_that_is_stopped_leads_nowhere(chat: Chat, script: Script) -> None:
    script.will_say("Long.", used=4000)
    script.will(delta("We like"), Gate())
    chat.ask("Hello")
    chat.button("New chat with a summary").click()
    expect(chat.answer).to_have_text("We like")
    chat.button("Stop the answer").click()
    expect(chat.answers.last.locator(".badge")).to_have_text("Stopped")
    expect(chat.answers).to_have_count(2)
    expect(chat.page.locator("#attached")).to_be_hidden()
