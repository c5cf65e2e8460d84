"""Two tabs on one conversation: whatever order answers and events arrive in, both end with what is newest.

The network is the test's: `Held` keeps a tab's answers, as the server gave them, until the test lets each through.
"""

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import Chat
from tests.browser.scripted import Gate, Script, delta, finish
from tests.browser.test_conversations import menu

if TYPE_CHECKING:
    from playwright.sync_api import APIResponse, Route

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
expect = sync_api.expect
pytestmark = pytest.mark.browser

LIST = re.compile(r"/api/conversations(\?.*)?$")
ONE = re.compile(r"/api/conversations/c-\d+$")
Arrive = Callable[[], None]


class Held:
    """A tab's answers of one kind: each is asked for at once, and reaches the page when the test says so."""

    def __init__(self, chat: Chat, pattern: "re.Pattern[str]") -> None:
        self._page = chat.page
        self._pattern = pattern
        self._kept: list[tuple[Route, APIResponse]] = []
        self._open = False
        self._page.route(pattern, self._take)

    def _take(self, route: "Route") -> None:
        if route.request.method != "GET":
            route.fallback()
            return
        response = route.fetch()
        if self._open:
            route.fulfill(response=response)
        else:
            self._kept.append((route, response))

    def _next(self) -> "tuple[Route, APIResponse]":
        for _ in range(500):
            if self._kept:
                return self._kept.pop(0)
            self._page.wait_for_timeout(10)  # lets the page's requests come in
        raise AssertionError(f"nothing was asked for at {self._pattern.pattern}")

    def _settle(self) -> None:
        for _ in range(3):  # the answer's own task, and what it leads to
            self._page.evaluate("new Promise((resolve) => setTimeout(resolve, 20))")

    def keep(self) -> Arrive:
        """Wait for the next answer; what is returned lets it through, and the page take it in."""
        route, response = self._next()

        def arrive() -> None:
            route.fulfill(response=response)
            self._settle()

        return arrive

    def arrive(self) -> None:
        """Wait for the next answer, and let it through."""
        self.keep()()

    def lose(self) -> None:
        """Wait for the next answer, and break the line."""
        self._next()[0].abort()
        self._settle()

    def let_go(self) -> None:
        """Everything arrives from now on."""
        self._open = True
        while self._kept:
            self.arrive()


Hold = Callable[[Chat, "re.Pattern[str]"], Held]
Tabs = Callable[[str], tuple[Chat, Chat]]


@pytest.fixture
def hold(tab: Chat) -> Iterator[Hold]:
    """Holds a tab's answers; lets them go at the end."""
    made: list[Held] = []

    def make(chat: Chat, pattern: "re.Pattern[str]") -> Held:
        made.append(Held(chat, pattern))
        return made[-1]

    yield make
    for held in made:
        held.let_go()


@pytest.fixture(scope="module")
def _another(_shared: Chat) -> Iterator[Chat]:
    page = _shared.page.context.new_page()
    yield Chat(page, _shared.address)
    page.close()


@pytest.fixture
def tabs(tab: Chat, _another: Chat) -> Iterator[Tabs]:
    """Opens a conversation in two tabs of one browser."""

    def opened(id: str) -> tuple[Chat, Chat]:
        for chat in (tab, _another):
            chat.open(f"?lang=en&c={id}")
        for chat in (tab, _another):
            expect(chat.answers).not_to_have_count(0)
            expect(chat.rows).not_to_have_count(0)
        return tab, _another

    yield opened
    _another.check()
    _another.page.unroute_all()
    _another.page.goto("about:blank")


def rename(chat: Chat, old: str, new: str) -> None:
    menu(chat, old, "Rename")
    chat.page.get_by_role("textbox", name="Rename").fill(new)
    chat.page.keyboard.press("Enter")


def shows(chat: Chat, title: str) -> None:
    """Where a title stands: over the conversation, in the list, on the tab."""
    expect(chat.page.locator("#title")).to_have_text(title)
    expect(chat.rows.first.locator(".row-title")).to_have_text(title)
    expect(chat.page).to_have_title(f"{title} · edgechat")


@pytest.mark.parametrize("order", [("list", "conversation"), ("conversation", "list")], ids="-".join)
@pytest.mark.parametrize("late", ["here", "there"])
def test_a_new_title_is_shown_whichever_answer_comes_first(
    tabs: Tabs, hold: Hold, script: Script, late: str, order: tuple[str, ...]
) -> None:
    one, two = tabs(script.records.add("Old name", "q", "a"))
    slow = one if late == "here" else two
    held = {"list": hold(slow, LIST), "conversation": hold(slow, ONE)}
    rename(one, "Old name", "New name")
    for kind in order:
        held[kind].arrive()
    for chat in (one, two):
        shows(chat, "New name")


@pytest.mark.parametrize("lost", ["list", "conversation"])
def test_one_answer_is_enough_for_a_new_title(tabs: Tabs, hold: Hold, script: Script, lost: str) -> None:
    one, two = tabs(script.records.add("Old name", "q", "a"))
    held = {"list": hold(two, LIST), "conversation": hold(two, ONE)}
    rename(one, "Old name", "New name")
    held.pop(lost).lose()
    for other in held.values():
        other.arrive()
    shows(two, "New name")


def test_the_next_page_of_the_list_does_not_cancel_its_beginning(tabs: Tabs, hold: Hold, script: Script) -> None:
    for n in range(60):
        script.records.add(f"Talk {n}", "q", "a", hours_ago=100)
    one, two = tabs(script.records.add("Old name", "q", "a"))
    lists = hold(two, LIST)
    rename(one, "Old name", "New name")
    beginning = lists.keep()
    two.button("Load more").click()
    lists.arrive()
    beginning()
    lists.let_go()
    shows(two, "New name")


def test_what_was_read_earlier_does_not_replace_what_is_newer(tabs: Tabs, hold: Hold, script: Script) -> None:
    """The tab asks twice, before and after an answer that another tab got; the first response comes last."""
    one, two = tabs(script.records.add("Shared", "q", "a"))
    held = hold(two, ONE)
    menu(one, "Shared", "Pin")
    before = held.keep()
    script.will_say("The newest.")
    one.ask("And?")
    expect(one.answer).to_have_text("The newest.")
    during = held.keep()
    held.arrive()
    expect(two.answer).to_have_text("The newest.")
    before()
    during()
    expect(two.answer).to_have_text("The newest.")


def test_the_conversation_that_was_clicked_last_is_the_open_one(tab: Chat, hold: Hold, script: Script) -> None:
    script.records.add("First", "q", "answer of the first")
    script.records.add("Second", "q", "answer of the second")
    chat = tab.open()
    held = hold(chat, ONE)
    chat.rows.filter(has_text="First").locator("a").click()
    first = held.keep()
    chat.rows.filter(has_text="Second").locator("a").click()
    held.arrive()
    expect(chat.answer).to_have_text("answer of the second")
    first()
    expect(chat.answer).to_have_text("answer of the second")
    expect(chat.page.locator("#title")).to_have_text("Second")
    expect(chat.rows.filter(has_text="Second").locator("a")).to_have_attribute("aria-current", "page")
    assert chat.page.url.endswith("c=c-4")


def test_a_new_chat_is_not_replaced_by_one_that_was_on_its_way(tab: Chat, hold: Hold, script: Script) -> None:
    script.records.add("First", "q", "a")
    chat = tab.open()
    held = hold(chat, ONE)
    chat.rows.first.locator("a").click()
    answer = held.keep()
    chat.button("New chat").first.click()
    answer()
    expect(chat.page.locator("#empty")).to_be_visible()
    expect(chat.page.locator("#title")).to_have_text("edgechat")


def test_what_another_tab_got_during_an_answer_is_there_after_it(tabs: Tabs, script: Script) -> None:
    one, two = tabs(script.records.add("Shared", "q", "a"))
    gate = Gate()
    script.will(delta("Another "), gate, delta("answer."), *finish())
    two.answers.last.hover()
    two.button("Regenerate").click()
    expect(two.answer).to_contain_text("Another")
    script.will_say("Beside it.")
    one.ask("Go on")
    expect(one.answer).to_have_text("Beside it.")
    gate.set()
    expect(two.answer).to_have_text("Another answer.")
    two.button("Previous version").click()
    expect(two.answer).to_have_text("Beside it.")


def test_a_title_is_typed_to_its_end_though_the_list_is_read_again(tabs: Tabs, hold: Hold, script: Script) -> None:
    script.records.add("Other", "q", "a")
    one, two = tabs(script.records.add("Old name", "q", "a"))
    menu(two, "Old name", "Rename")
    field = two.page.get_by_role("textbox", name="Rename")
    field.fill("New")
    lists = hold(two, LIST)
    script.will_say("Meanwhile.")
    one.ask("And?")
    expect(one.answer).to_have_text("Meanwhile.")
    lists.arrive()
    lists.let_go()
    expect(two.answer).to_have_text("Meanwhile.")
    expect(field).to_be_focused()
    expect(field).to_have_value("New")
    assert [c["title"] for c in script.records.conversations.values()] == ["Other", "Old name"]
    two.page.keyboard.type(" name")
    two.page.keyboard.press("Enter")
    shows(two, "New name")
    shows(one, "New name")
    expect(two.page.get_by_role("alert")).to_have_count(0)


def test_a_conversation_deleted_in_one_tab_is_closed_in_the_other(tabs: Tabs, script: Script) -> None:
    one, two = tabs(script.records.add("Shared", "q", "a"))
    menu(one, "Shared", "Delete")
    expect(two.rows).to_have_count(0)
    expect(two.page.locator("#empty")).to_be_visible()
    expect(two.page.locator(".toast")).to_contain_text("This conversation no longer exists.")
    expect(two.page.locator("#title")).to_have_text("edgechat")


def test_a_pin_set_in_one_tab_stands_in_the_other(tabs: Tabs, hold: Hold, script: Script) -> None:
    one, two = tabs(script.records.add("Shared", "q", "a"))
    held = {"list": hold(two, LIST), "conversation": hold(two, ONE)}
    menu(one, "Shared", "Pin")
    held["list"].lose()
    held["conversation"].arrive()
    expect(two.page.locator(".group")).to_have_text(["Pinned"])


def test_what_was_lost_is_asked_for_again_once_the_server_answers(tabs: Tabs, hold: Hold, script: Script) -> None:
    one, two = tabs(script.records.add("Old name", "q", "a"))
    held = hold(two, LIST), hold(two, ONE)
    rename(one, "Old name", "New name")
    for answers in held:
        answers.lose()
        answers.let_go()
    expect(two.page.locator("#title")).to_have_text("Old name")
    two.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # which makes it look for the server
    shows(two, "New name")


def test_all_deleted_in_one_tab_are_gone_in_the_other(tabs: Tabs, script: Script) -> None:
    one, two = tabs(script.records.add("Shared", "q", "a"))
    one.button("Settings").click()
    one.page.get_by_label("Delete all conversations").fill("delete")
    one.button("Delete all").click()
    expect(two.rows).to_have_count(0)
    expect(two.page.locator("#empty")).to_be_visible()


def test_an_answer_that_a_restart_cut_off_does_not_come_back_over_another_conversation(
    tab: Chat, hold: Hold, script: Script
) -> None:
    script.records.add("Other", "q", "answer of the other")
    chat = tab.open()
    script.will(delta("Cut "), Gate(), delta("off."), *finish())
    chat.ask("Hello")
    expect(chat.answer).to_contain_text("Cut")
    held = hold(chat, ONE)
    script.restart()
    cut_off = held.keep()
    chat.rows.filter(has_text="Other").locator("a").click()
    held.arrive()
    expect(chat.answer).to_have_text("answer of the other")
    cut_off()
    expect(chat.answer).to_have_text("answer of the other")
