"""The box one types in: keys, input methods, drafts."""

import pytest

from tests.browser.conftest import Chat, Open
from tests.browser.scripted import Script

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
expect = sync_api.expect
pytestmark = pytest.mark.browser


def test_enter_breaks_the_line_on_a_touch_screen(new_chat: Open, script: Script) -> None:
    chat = new_chat(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True).open()
    script.will_say("Hello.")
    chat.input.tap()
    chat.page.keyboard.type("one")
    chat.input.press("Enter")
    chat.page.keyboard.type("two")
    expect(chat.input).to_have_value("one\ntwo")
    chat.button("Send").tap()
    expect(chat.answer).to_have_text("Hello.")


TABLET = {"viewport": {"width": 820, "height": 1180}, "has_touch": True, "is_mobile": True}


def test_a_tablet_s_keyboard_sends_and_its_screen_breaks_the_line(new_chat: Open, script: Script) -> None:
    chat = new_chat(**TABLET).open()
    script.will_say("Hello.")
    chat.input.tap()
    chat.page.keyboard.type("one")
    devtools = chat.page.context.new_cdp_session(chat.page)
    enter = {"type": "keyDown", "key": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}  # of no place: the screen's
    devtools.send("Input.dispatchKeyEvent", enter)
    chat.page.keyboard.type("two")
    expect(chat.input).to_have_value("one\ntwo")
    chat.page.keyboard.press("Shift+Enter")
    expect(chat.input).to_have_value("one\ntwo\n")
    chat.page.keyboard.press("Enter")
    expect(chat.answer).to_have_text("Hello.")
    assert [request["content"] for request in script.requests] == ["one\ntwo"]


def test_enter_can_be_set_to_break_the_line(chat: Chat, script: Script) -> None:
    chat.page.evaluate("localStorage.setItem('edgechat.send', '\"ctrl\"')")
    script.will_say("Hello.")
    chat.page.keyboard.type("one")
    chat.input.press("Enter")
    chat.page.keyboard.type("two")
    expect(chat.input).to_have_value("one\ntwo")
    chat.input.press("Control+Enter")
    expect(chat.answer).to_have_text("Hello.")


def test_shift_enter_breaks_the_line_and_the_box_grows_to_eight(chat: Chat) -> None:
    def height() -> float:
        box = chat.input.bounding_box()
        assert box
        return float(box["height"])

    one = two = height()
    for line in range(1, 12):
        chat.page.keyboard.type(f"line {line}")
        chat.input.press("Shift+Enter")
        if line == 1:
            two = height()
            assert one < two < 2 * one
    assert height() == pytest.approx(one + 7 * (two - one), abs=1)
    chat.input.fill("")
    assert height() == one


def test_nothing_is_sent_without_words(chat: Chat, script: Script) -> None:
    script.will_say("Yes.")
    chat.ask("  \n ")
    chat.button("Send").dispatch_event("click")
    chat.ask("Hello")
    expect(chat.answer).to_have_text("Yes.")
    expect(chat.answers).to_have_count(1)
    assert [request["content"] for request in script.requests] == ["Hello"]


def test_enter_belongs_to_the_input_method(chat: Chat, script: Script) -> None:
    """Choosing characters with Enter sends nothing: while composing, and in Safari's order just after."""
    script.will_say("你好！")
    devtools = chat.page.context.new_cdp_session(chat.page)
    devtools.send("Input.imeSetComposition", {"text": "nihao", "selectionStart": 5, "selectionEnd": 5})
    # As an input method's Enter comes: a key, but no character.
    enter = {"type": "rawKeyDown", "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
    devtools.send("Input.dispatchKeyEvent", enter)
    devtools.send("Input.insertText", {"text": "你好"})
    chat.input.dispatch_event("keydown", {"key": "Enter", "keyCode": 229, "bubbles": True, "cancelable": True})
    expect(chat.input).to_have_value("你好")
    expect(chat.answers).to_have_count(0)
    chat.input.press("Enter")
    expect(chat.answer).to_have_text("你好！")
    assert [request["content"] for request in script.requests] == ["你好"]


COMPOSED = """(field) => ["Escape", "ArrowDown", "Enter"].map((key) => {
    const composing = { isComposing: key !== "Enter", keyCode: 229 };
    const event = new KeyboardEvent("keydown", { key, ...composing, bubbles: true, cancelable: true });
    field.dispatchEvent(event);
    return event.defaultPrevented;
})"""


def test_an_input_method_s_keys_are_its_own_in_every_field(chat: Chat, script: Script) -> None:
    """Enter is kept from sending a form: Safari would, as its composition is over by then."""
    script.records.add("Old", "Hi", "Hello")
    chat.open()
    search = chat.page.locator("#search")
    search.fill("Ol")
    assert search.evaluate(COMPOSED) == [False, False, True]
    expect(search).to_have_value("Ol")
    expect(search).to_be_focused()
    search.fill("")
    chat.rows.first.locator("a").click()
    expect(chat.answer).to_have_text("Hello")
    chat.page.keyboard.press("Control+Shift+E")
    field = chat.page.locator(".rename")
    field.fill("New")
    assert field.evaluate(COMPOSED) == [False, False, True]
    expect(field).to_have_value("New")
    field.press("Escape")
    chat.questions.last.get_by_role("button", name="Edit").click()
    edit = chat.page.locator(".edit-text")
    edit.fill("Hi there")
    edit.evaluate(COMPOSED)
    expect(edit).to_have_value("Hi there")
    assert script.requests == []


def test_a_draft_survives_a_reload_and_belongs_to_its_conversation(chat: Chat, script: Script) -> None:
    id = script.records.add("Old", "Hi", "Hello")
    chat.input.fill("half a thought")
    chat.page.reload()
    expect(chat.input).to_have_value("half a thought")
    chat.rows.first.locator("a").click()
    expect(chat.answer).to_have_text("Hello")
    expect(chat.input).to_have_value("")
    chat.input.fill("another")
    chat.button("New chat").first.click()
    expect(chat.input).to_have_value("half a thought")
    chat.open(f"?lang=en&c={id}")
    expect(chat.input).to_have_value("another")
    script.will_say("Yes.")
    chat.input.press("Enter")
    expect(chat.answer).to_have_text("Yes.")
    chat.page.reload()
    expect(chat.answer).to_have_text("Yes.")
    expect(chat.input).to_have_value("")


def test_a_long_paste_is_taken_whole(chat: Chat, script: Script) -> None:
    text = "字word " * 16_000  # 100 kB
    script.will_say("That was long.")
    chat.input.fill(text)
    chat.input.press("Enter", timeout=60_000)
    expect(chat.answer).to_have_text("That was long.", timeout=60_000)
    assert script.requests[0]["content"] == text.strip()


def test_a_long_paste_may_stand_beside_the_question(chat: Chat, script: Script) -> None:
    text = "line of a log\n" * 400
    chat.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    chat.page.evaluate("text => navigator.clipboard.writeText(text)", text)
    chat.page.keyboard.press("Control+v")
    chat.button("Attach the long text instead").click()
    expect(chat.input).to_have_value("")
    expect(chat.page.locator("#attached")).to_contain_text("Attached, 5,599 characters: line of a log")
    chat.page.keyboard.type("What is wrong here?")
    chat.page.reload()
    expect(chat.input).to_have_value(f"What is wrong here?\n\n{text.strip()}")  # a draft holds all of it
    chat.input.fill("short ")
    chat.page.keyboard.press("Control+v")
    chat.button("Attach the long text instead").click()
    chat.page.locator("#attached").get_by_role("button", name="Edit").click()
    expect(chat.input).to_have_value(f"short \n\n{text.strip()}")
    chat.input.fill("Why?")
    expect(chat.page.locator("#attach")).to_be_hidden()
    chat.page.keyboard.press("Control+v")
    chat.button("Attach the long text instead").click()
    script.will_say("Because.")
    chat.input.press("Enter")
    expect(chat.answer).to_have_text("Because.")
    expect(chat.page.locator("#attached")).to_be_hidden()
    assert script.requests[0]["content"] == f"Why?\n\n{text.strip()}"


def test_wishes_go_with_the_question(chat: Chat, script: Script) -> None:
    script.will_say("Yes.")
    params = {"temperature": 0.2, "stop": ["END"]}
    for name, value in {"params": params, "system": "Be brief.", "model": "other"}.items():
        chat.page.evaluate(
            "([n, value]) => localStorage.setItem(`edgechat.${n}`, JSON.stringify(value))", [name, value]
        )
    chat.ask("Hello")
    expect(chat.answer).to_have_text("Yes.")
    assert script.requests[0]["params"] == params | {"system": "Be brief."}
    assert script.requests[0]["model"] == "other"
