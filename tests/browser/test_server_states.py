"""What the page shows of the server: getting a model, losing the connection, serving another model."""

import re
from typing import Any

import pytest

from tests.browser.conftest import Chat, Open
from tests.browser.scripted import MODEL, READY, Gate, Script, delta, failed, finish, problem

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
expect = sync_api.expect
pytestmark = pytest.mark.browser

REPLACED = READY | {
    "model": "smollm2-135m-instruct",
    "wanted": MODEL,
    "why": "the hub cannot be reached: no route to host",
    "hint": f"edgechat pull {MODEL}",
}


def not_ready(state: str, **more: object) -> dict[str, object]:
    return {"state": state, "model": MODEL, "wanted": None, "why": None, "hint": None, "progress": None} | more


def test_a_pause_is_said_and_a_message_that_meets_it_is_refused(tab: Chat, script: Script) -> None:
    script.ready = not_ready("paused", why="an operator paused it")
    chat = tab.open()
    expect(chat.status).to_have_text("The server is paused.")
    script.will_refuse(503, problem("server_paused", "an operator paused the server: ask again later."))
    chat.ask("Are you there?")
    expect(chat.answers.last.get_by_role("alert")).to_contain_text("has paused the server")


def test_a_message_waits_at_the_server_for_the_download(tab: Chat, script: Script) -> None:
    script.ready = not_ready("downloading", progress=0.42)
    chat = tab.open()
    expect(chat.status).to_have_text("Downloading the model… 42%")
    expect(chat.page.get_by_role("progressbar")).to_have_js_property("value", 0.42)
    downloaded, loaded = Gate(), Gate()
    script.will(
        ("loading", {"stage": "downloading", "pct": 43.0}),
        downloaded,
        ("loading", {"stage": "loading", "pct": None}),
        loaded,
        delta("Here I am."),
        *finish(),
    )
    chat.ask("Are you there?")
    expect(chat.status).to_have_text("Downloading the model… 43%")
    expect(chat.input).to_be_enabled()
    downloaded.set()
    expect(chat.status).to_have_text("Loading the model…")
    script.ready = dict(READY)
    loaded.set()
    expect(chat.answer).to_have_text("Here I am.")
    assert len(script.requests) == 1


def test_a_model_that_cannot_be_loaded(tab: Chat, script: Script) -> None:
    script.ready = not_ready("failed", why="the file is cut off", hint=f"edgechat pull {MODEL}")
    chat = tab.open()
    expect(chat.status).to_have_text(f"The model could not be loaded. the file is cut off · edgechat pull {MODEL}")
    script.will(failed("model_not_ready", "no model answers here: the file is cut off"))
    chat.ask("Hello")
    alert = chat.answers.last.get_by_role("alert")
    expect(alert).to_contain_text("The model is not ready.")
    expect(alert.locator(".raw")).to_contain_text("the file is cut off")
    script.ready = dict(READY)
    script.will_say("Mended.")
    chat.button("Try again").click()
    expect(chat.answer).to_have_text("Mended.")


def test_another_model_than_the_wanted_one(tab: Chat, script: Script) -> None:
    script.ready = REPLACED
    chat = tab.open()
    notice = chat.page.locator("#notice")
    expect(chat.button("New text below")).to_be_hidden()
    expect(notice).to_contain_text(f"Using smollm2-135m-instruct because {MODEL} is not available")
    expect(notice).to_contain_text("no route to host")
    expect(notice.locator("code")).to_have_text(f"edgechat pull {MODEL}")
    expect(chat.page.locator("#model-name")).to_have_text("smollm2-135m-instruct")
    notice.get_by_role("button", name="Close").click()
    expect(notice).to_be_hidden()
    chat.button("Why another model answers").click()
    expect(notice).to_be_visible()


def test_no_notice_when_nothing_was_replaced(chat: Chat) -> None:
    expect(chat.page.locator("#model-name")).to_have_text(MODEL)
    expect(chat.page.locator("#notice")).to_be_hidden()
    expect(chat.button("Why another model answers")).to_be_hidden()


def test_a_lost_server_is_told_and_found_again(chat: Chat, script: Script) -> None:
    lost = True
    chat.page.route("**/{readyz,api/**}", lambda route: route.abort() if lost else route.continue_())
    chat.ask("Is anybody there?")
    expect(chat.status).to_have_text("Your message waits until the server is back.")
    banner = chat.page.locator("#offline")
    expect(banner).to_contain_text("No connection to the server. Next attempt in")
    expect(chat.questions).to_have_text(re.compile("Is anybody there?"))
    lost = False
    script.will_say("Here again.")
    chat.button("Try now").click()
    expect(banner).to_be_hidden()
    expect(chat.answer).to_have_text("Here again.")
    expect(chat.page.locator("#announcer")).to_have_text("Answer finished, 2 words")
    assert len(script.requests) == 1


def test_a_waiting_message_can_be_taken_back(chat: Chat, script: Script) -> None:
    chat.page.route("**/{readyz,api/**}", lambda route: route.abort())
    chat.ask("Not now")
    expect(chat.status).to_have_text("Your message waits until the server is back.")
    chat.button("Stop the answer").click()
    expect(chat.input).to_have_value("Not now")
    expect(chat.questions).to_have_count(0)
    expect(chat.page.locator("#empty")).to_be_visible()


def test_examples_are_in_a_language_that_the_model_speaks(tab: Chat, script: Script) -> None:
    script.ready = READY | {"languages": ["en"]}
    chat = tab.open("?lang=zh")
    expect(chat.page.locator("#examples button").first).to_have_text("Explain in three sentences why the sky is blue.")
    expect(chat.page.locator("#speaks")).to_have_text("当前模型只懂英文；可在右上角换用中文模型。")
    script.ready = READY | {"languages": ["zh", "en"]}
    chat.open("?lang=zh")
    expect(chat.page.locator("#examples button").first).to_have_text("用三句话解释天空为什么是蓝色的。")
    expect(chat.page.locator("#speaks")).to_be_hidden()


def test_the_server_at_a_glance(tab: Chat, script: Script) -> None:
    script.figures = {"running": 1, "waiting": 2, "speed": [0.0, 3.0, 6.25]}
    chat = tab.open()
    panel = chat.page.get_by_role("link", name="Dashboard 612 MB · 6.3 tok/s · 2 waiting")
    expect(panel).to_have_attribute("href", "dashboard")
    expect(panel.locator("polyline")).to_have_attribute("points", "57,15.5 58,8.3 59,0.5")
    script.figures = {"running": 0, "waiting": 0, "speed": [0.0]}
    chat.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(chat.page.locator("#panel-text")).to_have_text("612 MB")


def test_what_is_asked_while_an_older_question_is_under_way_is_answered_anew(new_chat: Open, script: Script) -> None:
    chat = new_chat()
    chat.page.clock.install()
    chat.open()
    chat.page.clock.pause_at(chat.page.evaluate("Date.now()") + 1_000)  # only what is asked for is answered
    held: list[Any] = []
    chat.page.route("**/readyz", lambda route: route.continue_() if held else held.append(route))
    again = "document.dispatchEvent(new Event('visibilitychange'))"
    with chat.page.expect_request("**/readyz"):
        chat.page.evaluate(again)
    script.ready = READY | {"state": "loading", "progress": 0.4}
    chat.page.evaluate(again)
    chat.page.evaluate(again)
    with chat.page.expect_response(lambda response: response.url.endswith("/readyz") and response.status == 503):
        held[0].fulfill(json=READY)
    expect(chat.status).to_contain_text("40%")


def test_the_server_is_not_asked_in_a_hidden_tab(new_chat: Open, script: Script) -> None:
    chat = new_chat()
    chat.page.clock.install()
    chat.open()
    with chat.page.expect_response("**/readyz"):
        chat.page.clock.fast_forward(6_000)  # every five seconds while one looks at it
    chat.page.evaluate(
        """() => {
            Object.defineProperty(document, "hidden", { get: () => window.away, configurable: true });
            window.away = true;
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    seen = len(chat.requests)
    chat.page.clock.run_for(60_000)  # in a tab that is seen, 24 more
    assert len(chat.requests) <= seen + 1, "what was under way may still come"
    script.ready = not_ready("loading")
    chat.page.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
    expect(chat.status).to_have_text("Loading the model…")
