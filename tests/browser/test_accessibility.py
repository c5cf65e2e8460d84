"""What axe-core finds in every state, light and dark, Chinese and English, wide and narrow: nothing."""

from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Chat, Open
from tests.browser.scripted import MODEL, READY, Gate, Script, delta, failed, finish, thought

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
expect = sync_api.expect
pytestmark = pytest.mark.browser

AXE = Path(__file__).parent / "vendor" / "axe.js"
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "rules": {"target-size": {"enabled": True}},
    "resultTypes": ["violations"],
}
TEXT = (
    "## Title\n\nSome **bold** [link](https://example.org), `code`.\n\n```python\nprint(1)  # one\n```\n\n"
    "|a|b|\n|-|-|\n|1|2|\n"
)
SIZES = {"wide": {"width": 1280, "height": 800}, "narrow": {"width": 360, "height": 740}}


def violations(chat: Chat) -> list[str]:
    """What axe objects to, with the element."""
    if not chat.page.evaluate("'axe' in window"):
        chat.page.evaluate(AXE.read_text(encoding="utf-8"))
    result: dict[str, Any] = chat.page.evaluate("rules => axe.run(document, rules)", RULES)
    return [f"{found['id']}: {node['html']}" for found in result["violations"] for node in found["nodes"]]


@pytest.mark.parametrize(
    ("size", "scheme", "language"),
    [("wide", "light", "en"), ("wide", "dark", "zh"), ("narrow", "light", "zh"), ("narrow", "dark", "en")],
)
def test_axe_finds_nothing(new_chat: Open, script: Script, size: str, scheme: str, language: str) -> None:
    script.records.add("Plan", "q", TEXT, pinned=True)
    script.models = [
        {"name": MODEL, "state": "loaded", "size": 4e8, "ram": 7e8, "quantisation": "Q4_K_M"},
        {"name": "other", "state": "downloading", "size": 4e9, "ram": 5e9, "quantisation": "Q8_0", "progress": 0.4},
    ]
    chat = new_chat(viewport=SIZES[size], color_scheme=scheme, reduced_motion="reduce").open(f"?lang={language}")
    found = {"empty": violations(chat)}
    gate = Gate()
    script.will(thought("Hm. "), delta(TEXT), gate, *finish(used=3990))
    chat.ask("Hello")
    expect(chat.answer.locator(".code")).to_be_visible()
    chat.ask("And then?")
    found["streaming"] = violations(chat)
    script.will(delta("So"), failed("engine_failed", "gone"))
    gate.set()
    expect(chat.answers.last.get_by_role("alert")).to_be_visible()
    chat.answers.last.locator("summary").click()
    found["error"] = violations(chat)
    chat.questions.first.hover()
    chat.questions.first.locator(".icon-button").last.click()
    found["edit"] = violations(chat)
    chat.page.keyboard.press("Escape")
    script.ready = READY | {
        "state": "downloading",
        "progress": 0.4,
        "model": "small",
        "wanted": MODEL,
        "why": "no",
        "hint": "x",
    }
    chat.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(chat.page.locator("#notice")).to_be_visible()
    found["replaced"] = violations(chat)
    if size == "narrow":
        chat.page.locator("#sidebar-toggle").click()
        found["sheet"] = violations(chat)
        chat.page.keyboard.press("Escape")
    for key in ("Control+,", "Control+/"):
        chat.page.keyboard.press(key)
        expect(chat.page.locator("#dialog-body > *")).not_to_have_count(0)
        found[key] = violations(chat)
        chat.page.keyboard.press("Escape")
    chat.page.locator("#model").click()
    expect(chat.page.locator(".models li")).to_have_count(2)
    found["models"] = violations(chat)
    assert {state: what for state, what in found.items() if what} == {}


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
