"""The run belongs to the server: a reload, a broken line, another conversation, a server that was started anew."""

import pytest

from tests.browser.conftest import Chat
from tests.browser.scripted import MODEL, Cut, Gate, Script, delta, finish
from tests.browser.test_look import until

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
expect = sync_api.expect
pytestmark = pytest.mark.browser


def test_a_reload_reads_on(chat: Chat, script: Script) -> None:
    gate = Gate()
    script.will(delta("Half "), delta("of it, "), gate, delta("and the rest."), *finish())
    chat.ask("Go")
    expect(chat.answer).to_have_text("Half of it,")
    chat.page.reload()
    expect(chat.answer).to_have_text("Half of it,")
    expect(chat.answers.locator(".who")).to_contain_text(MODEL)
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


def test_an_answer_that_ended_while_nobody_could_be_reached_is_told_hours_later(chat: Chat, script: Script) -> None:
    """Only the store knows of the run by then; what it tells has no numbers."""
    cut, gate = Gate(), Gate()
    script.will(delta("Half of"), cut, Cut(), gate, delta(" it."), *finish())
    chat.ask("Go")
    expect(chat.answer).to_have_text("Half of")
    chat.page.route("**/events", lambda route: route.abort())
    cut.set()
    expect(chat.status).to_have_text("Connection lost. The answer goes on; reconnecting…")
    (run,) = script.runs.values()
    gate.set()
    until(lambda: run.over)
    script.stored, script.runs = script.runs, {}
    chat.page.unroute("**/events")
    expect(chat.answer).to_have_text("Half of it.")
    expect(chat.answers.last.locator(".figures")).to_contain_text("412 tokens")
    expect(chat.button("Send")).to_be_visible()
