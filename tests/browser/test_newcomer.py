"""What a new user meets: who answers, what can be undone, what was wrong with what was typed."""

import pytest

from tests.browser.conftest import Chat, Open
from tests.browser.scripted import MODEL, Cut, Gate, Script, delta, finish, problem

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
expect = sync_api.expect
pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def test_the_header_names_the_model_that_was_chosen(chat: Chat, script: Script) -> None:
    """And the banner about another one, and the questions for one that knows English only, go."""
    small = "smollm2-135m-instruct"
    script.ready |= {"model": small, "wanted": MODEL, "why": "no network", "languages": ["en"]}
    row = {"size": 400_000_000, "state": "installed"}
    script.models = [row | {"name": "qwen"}, row | {"name": small, "state": "loaded"}]
    chat.open("?lang=zh-CN")
    expect(chat.page.locator("#model-name")).to_have_text(small)
    expect(chat.page.locator("#notice")).to_be_visible()
    expect(chat.page.locator("#speaks")).to_be_visible()
    chat.page.locator("#notice-models").click()  # nobody needs the terminal to have another one
    chat.page.locator(".models li").first.get_by_role("button").click()
    expect(chat.page.locator("#model-name")).to_have_text("qwen")
    expect(chat.page.locator("#notice")).to_be_hidden()
    expect(chat.page.locator("#speaks")).to_be_hidden()
    expect(chat.page.locator("#examples")).to_have_attribute("lang", "zh-CN")
    chat.page.keyboard.press("Escape")
    chat.open("?lang=zh-CN")
    expect(chat.page.locator("#model-name")).to_have_text("qwen")


def test_on_a_phone_a_deletion_is_seen_and_undone(new_chat: Open, script: Script) -> None:
    script.records.add("A title that is much longer than any telephone is wide, and then some more", "q", "a")
    chat = new_chat(**PHONE).open()
    chat.button("List of conversations").tap()
    chat.rows.first.get_by_role("button", name="More for this conversation").tap()
    chat.button("Delete").tap()
    toast = chat.page.locator(".toast")
    expect(toast).to_be_in_viewport(ratio=1)
    undo = toast.get_by_role("button", name="Undo")
    box = undo.bounding_box()
    assert box
    assert box["width"] > box["height"]  # its word stands in one line
    undo.tap()
    expect(chat.rows).to_have_count(1)


def test_a_toast_over_a_dialog_leaves_it_whole(chat: Chat, script: Script) -> None:
    script.models = [{"name": "absent", "state": "available", "size": 1}]
    chat.page.route(
        "**/api/models/absent/download", lambda route: route.fulfill(status=403, body=problem("forbidden", "No."))
    )
    chat.page.locator("#model").click()
    frame = chat.page.locator(".dialog-frame")
    expect(chat.page.locator(".models").get_by_role("button", name="Download")).to_be_visible()
    expect(chat.page.locator(".default").first).to_contain_text("free")
    before = frame.bounding_box()
    chat.page.locator(".models").get_by_role("button", name="Download").click()
    expect(chat.page.locator("#dialog .toast")).to_be_in_viewport(ratio=1)
    after = frame.bounding_box()
    assert before
    assert after
    assert after["width"] == before["width"]


def test_undoing_a_deletion_stays_where_one_is(chat: Chat, script: Script) -> None:
    script.records.add("Other", "q", "other")
    script.records.add("Open", "q", "open")
    chat.open()
    chat.rows.filter(has_text="Open").locator("a").click()
    expect(chat.answer).to_have_text("open")
    row = chat.rows.filter(has_text="Other")
    row.hover()
    row.get_by_role("button", name="More for this conversation").click()
    chat.button("Delete").click()
    chat.button("Undo").click()
    expect(chat.rows).to_have_count(2)
    expect(chat.answer).to_have_text("open")


def test_the_end_of_a_loop_is_called_that(chat: Chat, script: Script) -> None:
    script.will(delta("again and again"), *finish(reason="loop"))
    chat.ask("Hello")
    expect(chat.answers.last.locator(".badge")).to_have_text("Stopped: it was repeating itself")
    expect(chat.button("Continue")).to_have_count(0)


def test_a_question_that_is_too_long_can_be_shortened(chat: Chat, script: Script) -> None:
    """The numbers are seen, and asking the same again is not offered."""
    why = "the conversation has 8831 tokens, this model's context here is 4096"
    script.will_refuse(400, problem("context_length_exceeded", why))
    chat.ask("much too long")
    expect(chat.answers.last.locator(".problem")).to_contain_text(why)
    expect(chat.button("Try again")).to_have_count(0)
    chat.answers.last.locator(".problem").get_by_role("button", name="Edit").click()
    script.will_say("Yes.")
    edit = chat.page.locator(".edit-text")
    edit.fill("short")
    edit.press("Enter")  # as in the box for questions
    expect(chat.answer).to_have_text("Yes.")


def test_a_restart_is_told_as_soon_as_the_server_is_there_again(chat: Chat, script: Script) -> None:
    """Not after the thirty seconds that the next attempt was to wait."""
    gate = Gate()
    script.will(delta("Half an"), Cut(), gate, *finish())
    chat.ask("Hello")
    expect(chat.answer).to_contain_text("Half an")
    for path in ("**/api/**", "**/readyz"):
        chat.page.route(path, lambda route: route.abort())
    script.restart()
    expect(chat.page.locator("#offline")).to_be_visible(timeout=15_000)
    expect(chat.status).to_have_text("Connection lost; reconnecting…")
    chat.page.unroute_all()
    chat.button("Try now").click()
    expect(chat.answers.last.locator(".problem")).to_contain_text("interrupted", timeout=15_000)
    gate.set()


def test_the_meter_follows_the_branch_that_is_shown(chat: Chat, script: Script) -> None:
    for used in (48, 159):
        script.will(delta(f"answer {used}"), *finish(used=used))
    chat.ask("Hello")
    expect(chat.page.locator("#context-text")).to_have_text("48 / 4,096")
    chat.answers.last.get_by_role("button", name="Regenerate").click()
    expect(chat.page.locator("#context-text")).to_have_text("159 / 4,096")
    chat.button("Previous version").click()
    expect(chat.page.locator("#context-text")).to_have_text("48 / 4,096")


def test_an_empty_trash_says_so(chat: Chat) -> None:
    chat.button("Recently deleted").click()
    expect(chat.page.locator("#none")).to_have_text("Nothing was deleted in the last 30 days.")


def test_one_can_log_out_and_come_in_with_another_key(new_chat: Open, script: Script) -> None:
    script.key = "right"
    chat = new_chat().open()
    chat.page.locator("#key").fill("right")
    chat.button("Log in").click()
    expect(chat.page.locator("#dialog")).to_be_hidden()
    chat.button("Settings").click()
    expect(chat.page.get_by_text("Logged in with the key “ann”.")).to_be_visible()
    chat.button("Log out or use another key").click()
    expect(chat.page.locator("#key")).to_be_visible()


def test_what_the_model_no_longer_sees_is_marked(chat: Chat, script: Script) -> None:
    told, end = finish()
    assert isinstance(told, tuple)
    for dropped in (0, 2):
        script.will(delta("Yes."), ("usage", told[1] | {"dropped": dropped}), end)
        chat.ask("Hello")
        expect(chat.answers.last.locator(".figures")).to_be_attached()
        expect(chat.page.locator(".forgotten")).to_have_count(1 if dropped else 0)
    order = chat.page.locator("#messages > li").evaluate_all("nodes => nodes.map((node) => node.className)")
    assert order == ["", "", "forgotten", "", ""]
    expect(chat.page.locator(".forgotten")).to_have_text("The model no longer sees what is above.")


def test_a_text_file_that_is_dropped_stands_beside_the_question(chat: Chat, script: Script) -> None:
    chat.page.evaluate(
        """() => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File(["x = 1"], "a.py", { type: "" }));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
        }"""
    )
    expect(chat.page.locator("#attached-text")).to_contain_text("a.py:")
    script.will_say("Yes.")
    chat.ask("What is it?")
    expect(chat.answer).to_have_text("Yes.")
    assert script.requests[0]["content"] == "What is it?\n\na.py:\n\nx = 1"


def test_keys_and_indices_are_shown_as_such(chat: Chat, script: Script) -> None:
    script.will_say("Press <kbd>Ctrl</kbd>: H<sub>2</sub>O, x<sup>2</sup>, <b>not</b> <kbd onclick=alert(1)>this")
    chat.ask("Hello")
    expect(chat.answer).to_have_text("Press Ctrl: H2O, x2, <b>not</b> <kbd onclick=alert(1)>this")
    expect(chat.answer.locator("kbd, sub, sup")).to_have_text(["Ctrl", "2", "2"])


def test_the_way_in_cannot_be_closed_before_one_is_in(new_chat: Open, script: Script) -> None:
    script.key = "right"
    chat = new_chat().open()
    chat.page.locator("#key").fill("half")
    chat.button("Close").click()
    expect(chat.page.locator("#key")).to_have_value("")
    chat.page.locator("#key").fill("right")
    chat.button("Log in").click()
    expect(chat.page.locator("#dialog")).to_be_hidden()


DROP = """([name, type, text]) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File(["x = 1"], name, { type }));
    if (text) for (const kind of ["text/plain", "text/html"]) dataTransfer.setData(kind, text);
    const event = text
        ? new ClipboardEvent("paste", { clipboardData: dataTransfer, bubbles: true, cancelable: true })
        : new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true });
    document.getElementById("input").dispatchEvent(event);
    return event.defaultPrevented;
}"""


def test_a_file_that_cannot_be_taken_is_told_and_the_page_stays(chat: Chat) -> None:
    assert chat.page.evaluate(DROP, ["report.pdf", "application/pdf", ""])
    expect(chat.page.locator(".toast")).to_contain_text("report.pdf is neither text nor a picture")
    expect(chat.page.locator("#attached")).to_be_hidden()


def test_text_from_an_office_is_pasted_as_text(chat: Chat) -> None:
    """It comes with a picture of itself."""
    assert not chat.page.evaluate(DROP, ["image.png", "image/png", "a cell"])
    expect(chat.page.locator(".toast")).to_have_count(0)


def test_a_long_question_stands_folded(chat: Chat, script: Script) -> None:
    """As it was pasted beside the question: its answer is seen with it. A search that leads into it opens it."""
    long = "\n".join(f"line {n}" for n in range(500)) + " needle"
    script.will_say("Yes.")
    chat.ask(long)
    expect(chat.answer).to_have_text("Yes.")
    text = chat.questions.last.locator("> .text")
    seen = "node => node.clientHeight < node.scrollHeight"
    assert text.evaluate(seen)
    chat.button(f"Show all {len(long):,} characters").click()
    assert not text.evaluate(seen)
    expect(chat.button("Show less")).to_be_focused()
    chat.button("Show less").click()
    assert text.evaluate(seen)
    chat.questions.last.get_by_role("button", name="Edit").click()
    expect(chat.page.locator(".edit-text")).to_have_value(long)
    chat.button("Cancel").click()
    chat.page.locator("#search").fill("needle")
    expect(chat.rows.locator("mark")).to_have_text("needle")
    chat.rows.locator("a").click()
    expect(chat.button("Show less")).to_be_visible()


def test_nothing_is_called_new_that_was_there(chat: Chat, script: Script) -> None:
    """Where settings changed, or another tab wrote, all is drawn again."""
    id = script.records.add("Long", *["text " * 300 for _ in range(6)])
    chat.open(f"?lang=en&c={id}")
    expect(chat.page.locator("article")).to_have_count(6)
    chat.page.locator("#list").evaluate("list => list.scrollTo(0, 0)")
    chat.page.locator("#own").click()
    chat.page.get_by_label("System prompt").fill("Be brief.")
    chat.page.keyboard.press("Escape")
    expect(chat.page.locator("#own")).to_have_text("System prompt: Be brief.")
    expect(chat.page.locator("#to-end")).to_be_hidden()


@pytest.mark.parametrize("width", [320, 390])
def test_on_narrow_phones_words_are_whole_and_the_settings_in_reach(new_chat: Open, width: int) -> None:
    chat = new_chat(viewport={"width": width, "height": 640}).open()
    expect(chat.page.locator("#own")).to_be_in_viewport(ratio=1)
    chat.page.locator("#own").click()
    label = chat.page.get_by_text("Temperature (higher is more varied)")
    box, field = label.bounding_box(), chat.page.get_by_label("Temperature").bounding_box()
    assert box and field
    assert box["y"] + box["height"] <= field["y"] + 1
    assert box["width"] > width - 60  # a line of its own
