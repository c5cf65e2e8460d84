"""What the page shows of the server: getting a model, losing the connection, serving another model."""

import pytest

from tests.browser.conftest import Chat, Open
from tests.browser.scripted import MODEL, READY, Script

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


def test_a_message_waits_for_the_download(tab: Chat, script: Script) -> None:
    script.ready = not_ready("downloading", progress=0.42)
    chat = tab.open()
    expect(chat.status).to_have_text("Downloading the model: 42%")
    expect(chat.page.get_by_role("progressbar")).to_have_js_property("value", 0.42)
    script.will_say("Here I am.")
    chat.ask("Are you there?")
    expect(chat.status).to_have_text("Downloading the model: 42%. Your message will be sent then.")
    expect(chat.input).to_be_enabled()
    script.ready = not_ready("loading")
    expect(chat.status).to_have_text("Loading the model… Your message will be sent then.")
    assert script.requests == []
    script.ready = dict(READY)
    expect(chat.answer).to_have_text("Here I am.")
    assert len(script.requests) == 1


def test_a_waiting_message_can_be_stopped(tab: Chat, script: Script) -> None:
    script.ready = not_ready("downloading")
    chat = tab.open()
    chat.ask("Hello")
    expect(chat.status).to_have_text("Downloading the model… Your message will be sent then.")
    chat.button("Stop the answer").click()
    expect(chat.answers.last.locator(".badge")).to_have_text("Stopped")
    expect(chat.status).to_have_text("Downloading the model…")
    script.ready = dict(READY)
    expect(chat.status).to_be_hidden()
    assert script.requests == []


def test_a_server_that_was_ready_a_moment_ago(chat: Chat, script: Script) -> None:
    script.ready = not_ready("loading")
    script.will('{"error":{"message":"no model answers yet","code":"model_not_ready"}}', status=503)
    script.will_say("Now.")
    chat.ask("Hello")
    expect(chat.status).to_have_text("Loading the model… Your message will be sent then.")
    script.ready = dict(READY)
    expect(chat.answer).to_have_text("Now.")


def test_a_model_that_cannot_be_loaded(tab: Chat, script: Script) -> None:
    script.ready = not_ready("failed", why="the file is cut off", hint=f"edgechat pull {MODEL}")
    chat = tab.open()
    expect(chat.status).to_have_text(f"The model could not be loaded. the file is cut off · edgechat pull {MODEL}")
    chat.ask("Hello")
    problem = chat.answers.last.get_by_role("alert")
    expect(problem).to_contain_text("The model could not be loaded.")
    expect(problem.locator(".raw")).to_contain_text("the file is cut off")
    script.ready = dict(READY)
    script.will_say("Mended.")
    chat.button("Try again").click()
    expect(chat.answer).to_have_text("Mended.")


def test_another_model_than_the_wanted_one(tab: Chat, script: Script) -> None:
    script.ready = REPLACED
    chat = tab.open()
    notice = chat.page.locator("#notice")
    expect(chat.button("New text below")).to_be_hidden()
    expect(notice).to_contain_text(f"smollm2-135m-instruct answers in place of {MODEL}")
    expect(notice).to_contain_text("no route to host")
    expect(notice.locator("code")).to_have_text(f"edgechat pull {MODEL}")
    expect(chat.page.locator("#model-name")).to_have_text("smollm2-135m-instruct")
    chat.button("Close this notice").click()
    expect(notice).to_be_hidden()
    chat.button("Why another model answers").click()
    expect(notice).to_be_visible()


def test_no_notice_when_nothing_was_replaced(chat: Chat) -> None:
    expect(chat.page.locator("#model-name")).to_have_text(MODEL)
    expect(chat.page.locator("#notice")).to_be_hidden()
    expect(chat.button("Why another model answers")).to_be_hidden()


def test_a_lost_server_is_told_and_found_again(chat: Chat, script: Script) -> None:
    lost = True
    pattern = "**/{readyz,v1/**}"
    chat.page.route(pattern, lambda route: route.abort() if lost else route.continue_())
    chat.ask("Is anybody there?")
    expect(chat.answers.last.get_by_role("alert")).to_contain_text("The server could not be reached.")
    banner = chat.page.locator("#offline")
    expect(banner).to_contain_text("No connection to the server. Next attempt in")
    chat.ask("Then I wait")
    expect(chat.status).to_have_text("Your message waits until the server is back.")
    lost = False
    script.will_say("Here again.")
    chat.button("Try now").click()
    expect(banner).to_be_hidden()
    expect(chat.answer).to_have_text("Here again.")
    expect(chat.page.locator("#announcer")).to_have_text("Answer finished")


def test_the_server_is_not_asked_in_a_hidden_tab(new_chat: Open, script: Script) -> None:
    chat = new_chat()
    chat.page.clock.install()
    chat.open()
    asked = [url for url in chat.requests if url.endswith("/readyz")]
    with chat.page.expect_response("**/readyz"):
        chat.page.clock.fast_forward(6_000)  # every five seconds while one looks at it
    chat.page.evaluate(
        """() => {
            Object.defineProperty(document, "hidden", { get: () => window.away, configurable: true });
            window.away = true;
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    chat.page.clock.run_for(60_000)
    assert [url for url in chat.requests if url.endswith("/readyz")] == 2 * asked
    script.ready = not_ready("loading")
    chat.page.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
    expect(chat.status).to_have_text("Loading the model…")
