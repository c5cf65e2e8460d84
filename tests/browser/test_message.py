"""What one can do with a single message: branch from it, delete it; what is told beside it."""

import pytest

from tests.browser.conftest import Chat
from tests.browser.scripted import MODEL, Gate, Script, delta, finish, problem

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
expect = sync_api.expect
pytestmark = pytest.mark.browser


def two_turns(chat: Chat, script: Script) -> None:
    """A conversation of two questions and two answers."""
    id = script.records.add("Plan", "one", "1", "two", "2")
    chat.open(f"?lang=en&c={id}")
    expect(chat.answers).to_have_count(2)


def choose(chat: Chat, answer: int, item: str) -> None:
    """An item of an answer's menu."""
    chat.answers.nth(answer).hover()
    chat.answers.nth(answer).get_by_role("button", name="More").click()
    chat.page.locator("#menu").get_by_role("button", name=item, exact=True).click()


def test_an_answer_goes_with_what_follows_and_comes_back(tab: Chat, script: Script) -> None:
    two_turns(tab, script)
    choose(tab, 1, "Delete")
    expect(tab.questions).to_have_text(["Youone"])
    expect(tab.input).to_be_focused()
    toast = tab.page.locator(".toast")
    expect(toast).to_contain_text("Deleted, with what followed.")
    assert len(script.records.conversations["c-1"]["messages"]) == 2
    toast.get_by_role("button", name="Undo").click()
    expect(tab.answer).to_have_text("2")
    choose(tab, 0, "Delete")
    expect(tab.page.locator("#empty")).to_be_visible()


def test_a_deleted_message_is_found_and_brought_back_later(tab: Chat, script: Script) -> None:
    two_turns(tab, script)
    choose(tab, 1, "Delete")
    expect(tab.answers).to_have_count(1)
    tab.button("New chat").first.click()
    tab.button("Recently deleted").click()
    expect(tab.rows).to_have_count(1)
    expect(tab.rows.locator(".row-title")).to_have_text("Plan")
    expect(tab.rows.locator(".snippet")).to_have_text("2")
    tab.rows.get_by_role("button", name="Restore").click()
    expect(tab.answer).to_have_text("2")
    tab.button("Recently deleted").click()
    expect(tab.page.locator("#none")).to_have_text("Nothing was deleted in the last 30 days.")


def test_an_edit_waits_until_the_answer_is_written(tab: Chat, script: Script) -> None:
    """What cannot be sent now is not lost."""
    two_turns(tab, script)
    script.will(delta("3"), gate := Gate(), *finish())
    tab.ask("three")
    tab.questions.first.hover()
    tab.questions.first.get_by_role("button", name="Edit").click()
    field = tab.page.get_by_role("textbox", name="Edit")
    field.fill("one, but better")
    field.press("Control+Enter")
    expect(tab.status).to_have_text("An answer is still being written. Wait for it, or stop it first.")
    gate.set()
    expect(tab.button("Stop the answer")).to_be_hidden()
    script.will_say("1, but better")
    field.press("Control+Enter")
    expect(tab.answer).to_have_text("1, but better")


def test_nothing_is_deleted_while_an_answer_is_written(tab: Chat, script: Script) -> None:
    two_turns(tab, script)
    script.will(delta("3"), Gate())
    tab.ask("three")
    expect(tab.answer).to_have_text("3")
    choose(tab, 0, "Delete")
    expect(tab.status).to_have_text("An answer is still being written. Wait for it, or stop it first.")
    expect(tab.answers).to_have_count(3)


def test_a_branch_begins_behind_any_answer(tab: Chat, script: Script) -> None:
    two_turns(tab, script)
    choose(tab, 0, "Branch from here")
    expect(tab.answers).to_have_count(1)
    tab.page.locator(".toast").get_by_role("button", name="Undo").click()
    expect(tab.answers).to_have_count(2)
    choose(tab, 0, "Branch from here")
    script.will_say("II")
    tab.ask("other")
    expect(tab.answer).to_have_text("II")
    first = script.records.conversations["c-1"]["messages"][1]
    assert script.requests[0]["parent_id"] == first["id"]
    expect(tab.questions.last.locator(".place")).to_have_text("2/2")
    tab.answers.last.get_by_role("button", name="More").click()
    expect(tab.page.locator("#menu")).not_to_contain_text("Branch")  # nothing follows the last one
    tab.page.keyboard.press("Escape")


def test_whatever_a_menu_offers_has_its_icon(chat: Chat, script: Script) -> None:
    for text in ("One.", "Two."):
        script.will_say(text)
        chat.ask("Hello")
        expect(chat.answer).to_have_text(text)
        expect(chat.page.locator("#send")).to_be_visible()
    chat.answers.first.get_by_role("button", name="More").click()
    items = chat.page.locator("#menu button")
    expect(items.first).to_have_text("Branch from here")
    for item in items.all():
        box = item.locator("svg").bounding_box()
        assert box and box["width"] > 10
        assert item.locator("use").evaluate("node => node.getBBox().width") > 0


def test_thoughts_between_tags_are_no_answer(chat: Chat, script: Script) -> None:
    """Models whose templates nobody knows write them into the text; cut anywhere."""
    said = "<think>\nTwo and < two.\n</think>\n\n**Four.**"
    script.will(*[delta(character) for character in said], *finish())
    chat.ask("2 + 2?")
    expect(chat.answer).to_have_text("Four.")
    thoughts = chat.answers.last.locator(".thoughts")
    expect(thoughts.locator(".text")).to_have_text("Two and < two.")
    expect(thoughts).not_to_have_attribute("open", "")
    chat.page.reload()
    expect(chat.answer).to_have_text("Four.")
    expect(chat.answers.last.locator(".thoughts summary")).to_have_text("Thoughts")
    script.will_say("1 <think> 2")
    chat.ask("Less or more?")
    expect(chat.answer).to_have_text("1 <think> 2")


def test_an_answer_names_its_model(chat: Chat, script: Script) -> None:
    script.will_say("Yes.")
    chat.ask("Hello")
    expect(chat.answers.last.locator("h2")).to_have_text(f"Assistant{MODEL}")
    script.will(delta("Half"), gate := Gate(), *finish())
    chat.ask("And now?")
    expect(chat.answer).to_have_text("Half")
    chat.page.reload()
    expect(chat.button("Stop the answer")).to_be_visible()
    gate.set()
    expect(chat.answers.last.locator(".figures")).to_be_attached()
    expect(chat.answers.last.locator("h2")).to_have_text(f"Assistant{MODEL}")


def test_what_another_model_could_mend_leads_to_the_models(chat: Chat, script: Script) -> None:
    script.models = [{"name": "small", "state": "installed", "size": 1e8, "ram": 2e8}]
    script.will_refuse(507, problem("out_of_memory", "needs 5.1 GB"))
    chat.ask("Hello")
    chat.button("Choose another model").click()
    expect(chat.page.locator(".models li")).to_have_count(1)
