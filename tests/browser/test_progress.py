"""What is seen on the way to an answer, and how full its conversation is."""

import re
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import Chat, Open
from tests.browser.scripted import Gate, Part, Script, delta, finish, thought

if TYPE_CHECKING:
    from playwright.sync_api import Locator

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
expect = sync_api.expect
pytestmark = pytest.mark.browser


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
