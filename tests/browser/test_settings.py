"""Settings, of every conversation and of one: what is typed, what is refused, what is sent."""

from typing import Any

import pytest

from tests.browser.conftest import Chat
from tests.browser.scripted import Script

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
expect = sync_api.expect
pytestmark = pytest.mark.browser


def test_a_number_that_is_none_is_told(chat: Chat) -> None:
    chat.button("Settings").click()
    field = chat.page.get_by_label("Temperature")
    field.fill("9")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(chat.page.get_by_text("Must be between 0 and 2; not saved.")).to_be_visible()
    border = "node => getComputedStyle(node).borderTopColor"
    assert field.evaluate(border) != chat.page.get_by_label("Longest answer").evaluate(border)
    field.fill("1")
    expect(chat.page.get_by_text("Must be between 0 and 2; not saved.")).to_be_hidden()


def test_what_is_typed_stays_when_the_defaults_come(chat: Chat) -> None:
    """They stand beside the fields as soon as the server tells them."""
    held: list[Any] = []
    chat.page.route("**/api/status", lambda route: held.append(route))
    with chat.page.expect_request("**/api/status"):
        chat.button("Settings").click()
    field = chat.page.get_by_label("Temperature")
    field.fill("9")
    expect(field).to_have_attribute("aria-invalid", "true")
    for route in held:
        route.continue_()
    expect(field).to_have_attribute("placeholder", "0.7")
    expect(field).to_have_value("9")
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")


def test_stop_words_are_parted_by_chinese_commas_too(chat: Chat, script: Script) -> None:
    chat.button("Settings").click()
    chat.page.locator(".answers summary").click()
    chat.page.get_by_label("Stop words").fill("好的，完了、END, x")
    chat.page.keyboard.press("Escape")
    script.will_say("Yes.")
    chat.ask("Hello")
    expect(chat.answer).to_have_text("Yes.")
    assert script.requests[0]["params"]["stop"] == ["好的", "完了", "END", "x"]


def test_a_conversation_has_a_system_prompt_of_its_own(chat: Chat, script: Script) -> None:
    """It is seen in it, is not said by the browser on top of it, and other conversations do without."""
    own = chat.page.locator("#own")
    expect(own).to_have_text("Settings of this chat")
    own.click()
    chat.page.get_by_label("System prompt").fill("You are a pirate.")
    chat.page.get_by_label("Temperature").fill("0.2")
    chat.page.keyboard.press("Escape")
    expect(own).to_have_text("System prompt: You are a pirate. · Temperature 0.2")
    chat.page.locator("#language").click()
    expect(own).to_have_text("系统提示词：You are a pirate. · 温度 0.2")
    chat.page.locator("#language").click()
    expect(own).to_have_text("System prompt: You are a pirate. · Temperature 0.2")
    for _ in range(2):
        script.will_say("Aye.")
        chat.ask("Hello")
        expect(chat.answer).to_have_text("Aye.")
        expect(chat.page.locator("#send")).to_be_visible()
    first, second = script.requests
    assert first["settings"] == {"system": "You are a pirate.", "temperature": 0.2}
    assert "params" not in first
    assert "settings" not in second
    own.click()
    expect(chat.page.get_by_label("System prompt")).to_have_value("You are a pirate.")
    chat.page.get_by_label("System prompt").fill("You are a cook.")
    with chat.page.expect_request(lambda request: request.method == "PATCH") as sent:
        chat.page.keyboard.press("Escape")
    assert sent.value.post_data_json == {"settings": {"system": "You are a cook.", "temperature": 0.2}}
    expect(own).to_have_text("System prompt: You are a cook. · Temperature 0.2")
    chat.page.locator("#bar-new-chat, #new-chat").filter(visible=True).first.click()
    expect(own).to_have_text("Settings of this chat")
    chat.page.go_back()
    expect(own).to_have_text("System prompt: You are a cook. · Temperature 0.2")


def test_a_conversation_has_a_context_of_its_own(chat: Chat, script: Script) -> None:
    chat.page.locator("#own").click()
    chat.page.locator(".answers summary").click()
    field = chat.page.get_by_label("Context (tokens read at most)")
    field.fill("100")
    expect(chat.page.get_by_text("Must be between 256 and 131072; not saved.")).to_be_visible()
    field.fill("1024")
    chat.page.keyboard.press("Escape")
    expect(chat.page.locator("#own")).to_have_text("Context 1024")
    script.will_say("Yes.")
    chat.ask("Hello")
    expect(chat.answer).to_have_text("Yes.")
    assert script.requests[0]["settings"] == {"context": 1024}


def test_what_every_conversation_is_told_is_seen_in_each(chat: Chat) -> None:
    chat.button("Settings").click()
    chat.page.get_by_label("System prompt").fill("Be brief.")
    chat.page.keyboard.press("Escape")
    expect(chat.page.locator("#own")).to_have_text("System prompt: Be brief.")
