"""Tabs that nobody looks at, models that are silent for long, pages that frame this one."""

import pytest

from tests.browser.conftest import Chat, Open
from tests.browser.scripted import Gate, Script, delta, finish

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
expect = sync_api.expect
pytestmark = pytest.mark.browser

# A browser draws no frame of a hidden tab: what asks for one waits until somebody looks again.
AWAY = """
window.frames = [];
const draw = requestAnimationFrame.bind(window);
window.requestAnimationFrame = (callback) => (window.away ? frames.push(callback) : draw(callback));
"""


def test_a_hidden_tab_draws_nothing_and_is_complete_on_return(new_chat: Open, script: Script) -> None:
    chat = new_chat()
    chat.page.add_init_script(AWAY)
    chat.open()
    first, second = Gate(), Gate()
    words = [delta(f"word {n} ") for n in range(30)]
    script.will(delta("Seen. "), first, *words, second, delta("End."), *finish())
    chat.ask("Go")
    expect(chat.answer).to_have_text("Seen.")
    chat.page.evaluate("window.away = true")
    first.set()
    run = next(iter(script.runs.values()))
    while len(run.told) < 31:
        chat.page.wait_for_timeout(20)
    chat.page.wait_for_timeout(100)
    assert chat.answer.inner_text() == "Seen."
    assert chat.page.evaluate("frames.length") == 1  # one frame is asked for, however much arrives
    chat.page.evaluate("window.away = false; frames.forEach((callback) => callback(0))")
    expect(chat.answer).to_contain_text("word 29")
    second.set()
    expect(chat.answer).to_have_text("Seen. " + " ".join(f"word {n}" for n in range(30)) + " End.")


def test_a_minute_of_silence_while_the_prompt_is_read(new_chat: Open, script: Script) -> None:
    """No time-out: the place stays, and the answer comes."""
    chat = new_chat()
    chat.page.clock.install()
    chat.open()
    gate = Gate()
    script.will(("prefill", {"done": 45, "total": 100, "eta_s": 80.0}), gate, delta("At last."), *finish())
    chat.ask("A long text")
    expect(chat.status).to_have_text("Reading your text… 45% · 80 s left")
    for _ in range(12):
        chat.page.clock.run_for(5_000)
    expect(chat.answers.last.get_by_role("alert")).to_have_count(0)
    expect(chat.button("Stop the answer")).to_be_visible()
    gate.set()
    chat.page.clock.run_for(5_000)
    expect(chat.answer).to_have_text("At last.")
    assert len(script.requests) == 1


def test_no_page_can_frame_this_one(tab: Chat) -> None:
    html = "<!doctype html><title>frame</title><iframe src='/'></iframe>"
    tab.page.route("**/frame", lambda route: route.fulfill(body=html, content_type="text/html"))
    tab.page.goto(f"{tab.address}/frame")
    tab.page.locator("iframe").wait_for()
    assert tab.page.frames[1].url == "chrome-error://chromewebdata/"
    tab.open()
