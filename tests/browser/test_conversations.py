"""The list of conversations: search, rename, pin, delete with undo, paging, several tabs."""

import pytest

from tests.browser.conftest import Chat, Open
from tests.browser.scripted import Script

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
expect = sync_api.expect
pytestmark = pytest.mark.browser

DAY = 24.0


def menu(chat: Chat, title: str, item: str) -> None:
    """Choose an item of a conversation's menu."""
    row = chat.rows.filter(has_text=title)
    row.hover()
    row.get_by_role("button", name="More for this conversation").click()
    chat.page.locator("#menu").get_by_role("button", name=item, exact=True).click()


def titles(chat: Chat) -> list[str]:
    return [text.strip() for text in chat.page.locator(".row-title").all_inner_texts()]


def test_conversations_stand_in_groups(tab: Chat, script: Script) -> None:
    script.records.add("Months ago", "a", "b", hours_ago=60 * DAY)
    script.records.add("Last week", "a", "b", hours_ago=4 * DAY)
    script.records.add("Now", "a", "b")
    script.records.add("Kept", "a", "b", hours_ago=9 * DAY, pinned=True)
    chat = tab.open()
    expect(chat.rows).to_have_count(4)
    assert titles(chat) == ["Kept", "Now", "Last week", "Months ago"]
    expect(chat.page.locator(".group")).to_have_text(["Pinned", "Today", "Last 7 days", "Earlier"])


def test_open_rename_pin(tab: Chat, script: Script) -> None:
    one = script.records.add("One", "q1", "a1")
    script.records.add("Two", "q2", "a2")
    chat = tab.open()
    chat.rows.filter(has_text="One").locator("a").click()
    expect(chat.answer).to_have_text("a1")
    expect(chat.rows.filter(has_text="One").locator("a")).to_have_attribute("aria-current", "page")
    expect(chat.page.locator("#title")).to_have_text("One")
    menu(chat, "One", "Rename")
    field = chat.page.get_by_role("textbox", name="Rename")
    expect(field).to_be_focused()
    field.fill("Eins")
    field.press("Enter")
    expect(chat.page.locator("#title")).to_have_text("Eins")
    assert script.records.conversations[one]["title"] == "Eins"
    menu(chat, "Eins", "Pin")
    expect(chat.page.locator(".group").first).to_have_text("Pinned")
    chat.page.keyboard.press("Control+Shift+E")
    chat.page.keyboard.press("Escape")
    expect(chat.page.get_by_role("textbox", name="Rename")).to_have_count(0)
    expect(chat.rows.filter(has_text="Eins").locator("a")).to_be_focused()


PRESS = """keys => keys.forEach(([key, more]) => {
    const event = new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true, ...more});
    document.activeElement.dispatchEvent(event);
})"""


def test_a_key_right_after_the_one_that_renames_goes_to_the_title(tab: Chat, script: Script) -> None:
    """Both in one turn of the page: what renames was loaded by the menu, so nothing is waited for."""
    script.records.add("One", "q1", "a1")
    chat = tab.open()
    chat.rows.filter(has_text="One").locator("a").click()
    expect(chat.answer).to_have_text("a1")
    menu(chat, "One", "Pin")
    expect(chat.page.locator(".group").first).to_have_text("Pinned")
    renames = {"code": "KeyE", "ctrlKey": True, "shiftKey": True}
    chat.page.evaluate(PRESS, [["E", renames]])
    expect(chat.page.get_by_role("textbox", name="Rename")).to_be_focused()
    chat.page.keyboard.press("Escape")
    chat.page.evaluate(PRESS, [["E", renames], ["Escape", {}]])
    chat.page.wait_for_timeout(100)
    expect(chat.page.get_by_role("textbox", name="Rename")).to_have_count(0)


def test_delete_can_be_undone_and_moves_the_focus_on(tab: Chat, script: Script) -> None:
    for title in ("Three", "Two", "One"):
        script.records.add(title, "q", f"answer of {title}", hours_ago=len(title))
    chat = tab.open()
    expect(chat.rows).to_have_count(3)
    before = titles(chat)
    chat.rows.nth(0).locator("a").click()
    expect(chat.answers).to_have_count(1)
    menu(chat, before[0], "Delete")
    expect(chat.rows).to_have_count(2)
    expect(chat.rows.nth(0).locator("a")).to_be_focused()
    expect(chat.page.locator("#empty")).to_be_visible()
    toast = chat.page.locator(".toast")
    expect(toast).to_contain_text(f"Deleted: {before[0]}")
    toast.get_by_role("button", name="Undo").click()
    expect(chat.rows).to_have_count(3)
    expect(chat.answers).to_have_count(1)
    menu(chat, before[1], "Delete")
    expect(chat.rows).to_have_count(2)
    chat.button("Recently deleted").click()
    expect(chat.rows).to_have_count(1)
    chat.rows.get_by_role("button", name="Restore").click()
    expect(chat.rows).to_have_count(3)


def test_search_finds_two_characters_of_chinese(tab: Chat, script: Script) -> None:
    script.records.add("排序算法", "快速排序怎么写？", "先选一个基准。")
    script.records.add("晚饭", "今晚吃什么？", "西红柿炒鸡蛋。")
    chat = tab.open()
    chat.page.keyboard.press("Control+k")
    search = chat.page.get_by_role("searchbox", name="Search")
    expect(search).to_be_focused()
    search.fill("基准")
    expect(chat.rows).to_have_count(1)
    expect(chat.rows.locator("mark")).to_have_text("基准")
    search.press("ArrowDown")
    chat.page.keyboard.press("Enter")
    expect(chat.answer).to_have_text("先选一个基准。")
    search.fill("nothing of this")
    expect(chat.page.locator("#none")).to_have_text("Nothing found.")
    search.press("Escape")
    expect(chat.rows).to_have_count(2)


def test_the_list_comes_in_pages(tab: Chat, script: Script) -> None:
    for n in range(120):
        script.records.add(f"Talk {n}", "q", "a", hours_ago=n / 100)
    chat = tab.open()
    expect(chat.rows).to_have_count(50)
    more = chat.button("Load more")
    # Pressed where it is: brought into view, it may be gone before the click, since that asks for the next page too.
    more.dispatch_event("click")
    expect(chat.rows.nth(99)).to_be_attached()
    chat.page.locator(".conversations").evaluate("list => list.scrollTo(0, list.scrollHeight)")
    expect(chat.rows).to_have_count(120)
    expect(more).to_be_hidden()


def test_a_stale_change_is_told(tab: Chat, script: Script) -> None:
    id = script.records.add("Plan", "q", "a")
    chat = tab.open()
    expect(chat.rows).to_have_count(1)
    script.records.change(id, {"version": 1, "title": "Plan, changed elsewhere"})
    menu(chat, "Plan", "Pin")
    expect(chat.page.get_by_role("alert")).to_contain_text("It was changed elsewhere meanwhile.")
    expect(chat.rows).to_have_text("Plan, changed elsewhere")


def test_two_tabs_show_the_same(new_chat: Open, script: Script) -> None:
    id = script.records.add("Shared", "q", "a")
    one = new_chat().open(f"?lang=en&c={id}")
    two = Chat(one.page.context.new_page(), one.address).open(f"?lang=en&c={id}")
    expect(two.answer).to_have_text("a")
    script.will_say("Seen in both.")
    one.ask("And?")
    expect(one.answer).to_have_text("Seen in both.")
    expect(two.answer).to_have_text("Seen in both.")
    menu(one, "Shared", "Rename")
    one.page.get_by_role("textbox", name="Rename").fill("New name")
    one.page.keyboard.press("Enter")
    expect(two.page.locator("#title")).to_have_text("New name")
    two.check()


def test_seven_tabs_leave_room_for_an_answer(new_chat: Open, script: Script) -> None:
    """A browser opens six connections to a host: no tab may hold one while nothing is written."""
    one = new_chat().open()
    others = [Chat(one.page.context.new_page(), one.address).open() for _ in range(6)]
    script.will_say("Still here.")
    others[-1].ask("Hello")
    expect(others[-1].answer).to_have_text("Still here.")


@pytest.mark.parametrize("how", ["never there", "deleted"])
def test_a_conversation_that_is_gone(tab: Chat, script: Script, how: str) -> None:
    id = script.records.add("Gone", "q", "a", deleted=1) if how == "deleted" else "c-404"
    chat = tab.open(f"?lang=en&c={id}")
    expect(chat.page.locator(".toast")).to_contain_text("This conversation no longer exists.")
    expect(chat.page.locator("#empty")).to_be_visible()


def test_a_conversation_is_downloaded(tab: Chat, script: Script) -> None:
    id = script.records.add("Plan", "q", "a")
    chat = tab.open()
    expect(chat.rows).to_have_count(1)
    with chat.page.expect_download() as asked:
        menu(chat, "Plan", "Download as Markdown")
    assert asked.value.url.endswith(f"/api/export?format=md&conversation_id={id}")
    assert asked.value.suggested_filename == "plan.md"


def test_on_a_phone_the_list_is_a_sheet(new_chat: Open, script: Script) -> None:
    script.records.add("Old", "q", "a")
    chat = new_chat(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True).open()
    expect(chat.page.locator("#sidebar")).to_be_hidden()
    chat.button("List of conversations").tap()
    expect(chat.page.locator("#sheet")).to_be_visible()
    chat.page.keyboard.press("Escape")
    expect(chat.page.locator("#sheet")).to_be_hidden()
    expect(chat.button("List of conversations")).to_be_focused()
    chat.button("List of conversations").tap()
    chat.rows.first.locator("a").tap()
    expect(chat.page.locator("#sheet")).to_be_hidden()
    expect(chat.answer).to_have_text("a")


def test_on_a_phone_a_conversation_has_its_menu(new_chat: Open, script: Script) -> None:
    """It opens over the sheet, and can be pressed there; the way back outlives the sheet."""
    script.records.add("Old", "q", "a")
    chat = new_chat(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True).open()
    chat.button("List of conversations").tap()
    chat.rows.first.locator("a").tap()
    expect(chat.answer).to_have_text("a")
    chat.button("List of conversations").tap()
    chat.rows.first.get_by_role("button", name="More for this conversation").tap()
    chat.page.locator("#menu").get_by_role("button", name="Delete", exact=True).tap()
    expect(chat.page.locator("#sheet")).to_be_hidden()
    chat.page.locator(".toast").get_by_role("button", name="Undo").tap()
    expect(chat.answer).to_have_text("a")
