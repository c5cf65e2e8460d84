"""Keyboard, focus, zoom, motion, forced colours. What axe-core finds is in test_states.py."""

from pathlib import Path

import pytest

from tests.browser.conftest import Chat, Open
from tests.browser.scripted import Gate, Script, delta, finish

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
expect = sync_api.expect
pytestmark = pytest.mark.browser

AXE = Path(__file__).parent / "vendor" / "axe.js"
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "rules": {"target-size": {"enabled": True}},
    "resultTypes": ["violations"],
    "preload": False,
}
TEXT = (
    "## Title\n\nSome **bold** [link](https://example.org), `code`.\n\n```python\nprint(1)  # one\n```\n\n"
    "|a|b|\n|-|-|\n|1|2|\n"
)


def test_everything_is_reached_by_tab_and_nothing_traps(tab: Chat, script: Script) -> None:
    script.records.add("Plan", "q", "a")
    chat = tab.open()
    expect(chat.rows).to_have_count(1)
    wanted = "button:visible, a:visible, textarea:visible, input:visible"
    names = set(chat.page.locator(wanted).evaluate_all("all => all.map((one) => one.id || one.textContent.trim())"))
    seen = set()
    for _ in range(3 * len(names)):
        chat.page.keyboard.press("Tab")
        seen.add(chat.page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
    assert names - seen == set()


def test_the_focus_comes_back_from_a_dialog(chat: Chat) -> None:
    button = chat.button("Settings")
    button.click()
    expect(chat.page.locator("#dialog")).to_be_visible()
    expect(chat.page.locator("#dialog-body > *")).not_to_have_count(0)
    chat.page.keyboard.press("Escape")
    expect(button).to_be_focused()


def test_narrow_zoomed_and_spaced_it_scrolls_only_downwards(new_chat: Open, script: Script) -> None:
    script.will(delta(TEXT + "x" * 200), *finish())
    chat = new_chat(viewport={"width": 320, "height": 568}).open()
    chat.ask("y" * 200)
    expect(chat.answers.last.locator(".figures")).to_be_attached()
    for wider in ("", "document.documentElement.dataset.size = 'larger'"):
        chat.page.evaluate(wider or "0")
        assert chat.page.evaluate("document.documentElement.scrollWidth") == 320
        assert chat.page.locator("#list").evaluate("list => list.scrollWidth <= list.clientWidth")


def test_without_motion_nothing_moves(new_chat: Open, script: Script) -> None:
    chat = new_chat(reduced_motion="reduce").open()
    script.will(Gate())
    chat.ask("Hello")
    expect(chat.answers.last.locator(".wait")).to_be_visible()
    assert chat.page.evaluate("document.getAnimations().length") == 0


COVERED = """() => {
    const node = document.activeElement;
    const box = node.getBoundingClientRect();
    const list = node.closest("#list")?.getBoundingClientRect();
    const top = Math.max(box.top, list?.top ?? 0), bottom = Math.min(box.bottom, list?.bottom ?? innerHeight);
    const seen = document.elementFromPoint((box.left + box.right) / 2, (top + bottom) / 2);
    return [node.outerHTML.slice(0, 80), bottom - top > 8 && (node.contains(seen) || seen?.contains(node))];
}"""


def test_what_has_the_focus_is_seen(new_chat: Open, script: Script) -> None:
    """The composer and the header never cover it, on a low screen with long answers either."""
    id = script.records.add("Plan", *[TEXT * 3 if n % 2 else "question" for n in range(6)])
    chat = new_chat(viewport={"width": 800, "height": 500}).open(f"?lang=en&c={id}")
    expect(chat.answers).to_have_count(3)
    for key in ("Shift+Tab", "Tab"):
        chat.input.focus()
        nodes = set()
        for _ in range(40):
            chat.page.keyboard.press(key)
            node, is_seen = chat.page.evaluate(COVERED)
            assert is_seen or node.startswith("<body"), node
            nodes.add(node)
        assert len(nodes) > 7, "it goes round"


def test_forced_colours_leave_edges(new_chat: Open, script: Script) -> None:
    id = script.records.add("Plan", "q", "a")
    chat = new_chat(forced_colors="active").open(f"?lang=en&c={id}")
    expect(chat.answers).to_have_count(1)
    style = "node => [getComputedStyle(node).borderTopWidth, getComputedStyle(node).outlineWidth]"
    assert chat.page.locator("#send").evaluate(style)[0] == "1px"
    assert chat.page.locator(".composer").evaluate(style)[0] == "1px"
    assert chat.page.locator("#conversations .row").evaluate(style)[1] == "2px"


def test_the_list_can_be_skipped_and_no_two_things_have_one_name(tab: Chat, script: Script) -> None:
    for n in range(3):
        script.records.add(f"Talk {n}", "q", "a")
    chat = tab.open()
    expect(chat.rows).to_have_count(3)
    expect(chat.page.locator("#panel")).to_be_visible()
    assert chat.page.locator("#app :is(a, button, input)").first.get_attribute("id") == "skip"
    chat.page.locator("#skip").focus()
    expect(chat.page.locator("#skip")).to_be_in_viewport(ratio=1)
    chat.page.keyboard.press("Enter")
    expect(chat.input).to_be_focused()
    expect(chat.page.get_by_role("link", name="Dashboard", exact=True)).to_have_count(1)
    names = chat.rows.get_by_role("button").evaluate_all("nodes => nodes.map((node) => node.ariaLabel)")
    assert len(set(names)) == len(names) == 3
