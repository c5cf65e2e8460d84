"""How the page looks and moves: scrolling, languages, sizes, weight, screenshots."""

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from edgechat.api.page.assets import WEB
from tests.browser.conftest import TIMEOUT_MS, Chat, Open
from tests.browser.scripted import MODEL, READY, Gate, Script, delta, finish

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
expect = sync_api.expect
pytestmark = pytest.mark.browser

PARAGRAPH = "The tide comes in and goes out again, and nobody has to do anything about it. " * 3 + "\n\n"
SIZES = {"phone": {"width": 360, "height": 740}, "desktop": {"width": 1280, "height": 800}}
STILL = """async (list) => {
    const before = list.scrollTop;
    await new Promise((resolve) => setTimeout(resolve, 150));
    return list.scrollTop === before;
}"""
END = "list => list.scrollHeight - list.clientHeight - list.scrollTop"


def until(holds: Callable[[], bool]) -> None:
    """Wait for something only a script can see. (The page's policy forbids Playwright's own way: it evaluates text.)"""
    deadline = time.monotonic() + TIMEOUT_MS / 1000
    while not holds():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


# Scrolling


@pytest.mark.parametrize("way", ["wheel", "PageUp", "touch"])
def test_the_reader_who_scrolled_up_is_never_moved(new_chat: Open, script: Script, way: str) -> None:
    more, last = Gate(), Gate()
    script.will(delta(PARAGRAPH * 12), more, delta(PARAGRAPH * 6), last, delta(PARAGRAPH * 6), *finish())
    chat = new_chat(viewport={"width": 800, "height": 600}, has_touch=way == "touch").open()
    chat.ask("Tell me about the tide")
    if way == "touch":
        chat.button("Send").tap()
    listing = chat.page.locator("#list")
    expect(chat.answer).to_contain_text("The tide")
    assert listing.evaluate(END) <= 1  # it follows
    if way == "wheel":
        listing.hover()
        chat.page.mouse.wheel(0, -400)
    elif way == "touch":
        drag(chat, 400)
    else:
        listing.focus()
        chat.page.keyboard.press("PageUp")
    until(lambda: listing.evaluate(END) > 300)
    until(lambda: listing.evaluate(STILL))
    top = listing.evaluate("list => list.scrollTop")
    more.set()
    button = chat.button("New text below")
    expect(button).to_be_visible()
    last.set()
    expect(chat.answers.last.locator(".figures")).to_be_attached()
    until(lambda: listing.evaluate(STILL))
    assert listing.evaluate("list => list.scrollTop") == top
    button.click()
    expect(button).to_be_hidden()
    assert listing.evaluate(END) <= 1


def drag(chat: Chat, down: int) -> None:
    """Draw the text down with a finger, which scrolls up."""
    devtools = chat.page.context.new_cdp_session(chat.page)
    for kind, y in [("touchStart", 0), *(("touchMove", y) for y in range(20, down + 1, 20))]:
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": 400, "y": 100 + y}]})
    devtools.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    devtools.detach()


def test_back_at_the_end_it_follows_again(new_chat: Open, script: Script) -> None:
    more, last = Gate(), Gate()
    script.will(delta(PARAGRAPH * 12), more, delta(PARAGRAPH * 4), last, *finish())
    chat = new_chat(viewport={"width": 800, "height": 600}).open()
    chat.ask("Tell me about the tide")
    listing = chat.page.locator("#list")
    expect(chat.answer).to_contain_text("The tide")
    listing.focus()
    chat.page.keyboard.press("PageUp")
    until(lambda: listing.evaluate(END) > 100)
    chat.page.keyboard.press("End")
    until(lambda: listing.evaluate(END) <= 1)
    height = listing.evaluate("list => list.scrollHeight")
    more.set()
    until(lambda: listing.evaluate("list => list.scrollHeight") > height)
    until(lambda: listing.evaluate(END) <= 1)
    last.set()
    expect(chat.answers.last.locator(".figures")).to_be_in_viewport()


def test_another_version_moves_nobody(new_chat: Open, script: Script) -> None:
    id = script.records.add("Plan", "q", PARAGRAPH * 4, "more", PARAGRAPH * 8)
    question = script.records.conversations[id]["messages"][0]["id"]
    script.records.branch(id, question, PARAGRAPH + "```python\nx = 1\n```\n" + PARAGRAPH * 9)
    chat = new_chat(viewport={"width": 800, "height": 600}).open(f"?lang=en&c={id}")
    listing = chat.page.locator("#list")
    expect(chat.answers.first.locator(".hljs-number")).to_be_attached()
    listing.evaluate("list => list.scrollTo(0, 150)")
    listing.evaluate("() => new Promise(seen => requestAnimationFrame(() => requestAnimationFrame(seen)))")
    place = chat.answers.first.locator(".place")
    for text, button in (("1/2", "Previous version"), ("2/2", "Next version")):
        chat.answers.first.get_by_role("button", name=button).evaluate("button => button.click()")
        expect(place).to_have_text(text)
        assert listing.evaluate("list => list.scrollTop") == 150


def test_only_the_list_scrolls(new_chat: Open, script: Script) -> None:
    script.will_say(PARAGRAPH * 20)
    chat = new_chat(viewport=SIZES["phone"]).open()
    chat.ask("x" * 300)
    expect(chat.answers.last.locator(".figures")).to_be_attached()
    page = chat.page.evaluate("[document.documentElement.scrollHeight, document.documentElement.scrollWidth]")
    assert page == [740, 360]
    assert chat.page.locator("#list").evaluate("list => list.scrollWidth <= list.clientWidth")


# Languages


def test_the_language_switches_without_a_reload(chat: Chat, script: Script) -> None:
    gate = Gate()
    script.will(delta("A word"), gate, *finish(reason="length"))
    script.will_refuse(500)
    chat.ask("Hello")
    expect(chat.answer).to_have_text("A word")
    chat.button("中文").click()
    expect(chat.page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(chat.button("停止回答")).to_be_visible()
    expect(chat.input).to_have_attribute("placeholder", "想问点什么？")
    gate.set()
    expect(chat.answers.last.locator(".badge")).to_have_text("已达长度上限")
    expect(chat.answers.last.locator(".figures")).to_have_text("412 token · 6.2 token/秒 · 首字 1.8 秒")
    chat.ask("再问一次")
    expect(chat.answers.last.get_by_role("alert")).to_contain_text("服务器出错了。")
    chat.button("English").click()
    expect(chat.answers.first.locator(".badge")).to_have_text("Reached the length limit")
    expect(chat.answers.first.locator(".figures")).to_have_text("412 tokens · 6.2 tok/s · first after 1.8 s")
    expect(chat.answers.last.get_by_role("alert")).to_contain_text("Something went wrong on the server.")
    expect(chat.answers.first.locator("> .text")).to_have_text("A word")


def test_the_language_to_start_with(new_chat: Open) -> None:
    chat = new_chat(locale="zh-TW").open("")
    expect(chat.page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(chat.page.locator("#empty h2")).to_have_text("今天想聊点什么？")
    expect(chat.page.locator("#examples button")).to_have_count(4)
    chat.open("?lang=en")  # the address goes before the browser's wish
    expect(chat.page.locator("html")).to_have_attribute("lang", "en")
    expect(chat.page.locator("#empty h2")).to_have_text("What would you like to know?")


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        (["de", "zh-Hant-HK", "en"], "zh-CN"),
        (["EN-us", "zh"], "en"),
        (["de-DE", "fr"], "en"),
        ([], "en"),
        (["zho"], "en"),
    ],
)
def test_the_nearest_language(chat: Chat, wanted: list[str], chosen: str) -> None:
    choose = "async ({module, wanted}) => (await import(module)).choose(wanted)"
    assert chat.page.evaluate(choose, {"module": chat.module("i18n.js"), "wanted": wanted}) == chosen


def test_the_choice_of_language_is_kept(tab: Chat) -> None:
    chat = tab.open("")
    chat.button("中文").click()
    expect(chat.button("English")).to_be_visible()
    chat.open("")
    expect(chat.button("English")).to_be_visible()


# Weight, reach, names


def test_few_requests_and_none_twice(new_chat: Open) -> None:
    chat = new_chat().open()
    until = "performance.getEntriesByName('ready')[0].startTime"
    before = f"performance.getEntriesByType('resource').filter((e) => e.startTime < {until}).length"
    assert 1 + chat.page.evaluate(before) <= 20  # the document, and what it needs before one can type
    assert len(set(chat.requests)) == len(chat.requests)
    cached = "performance.getEntriesByType('resource').filter(e => e.name.includes('/ui/') && !e.transferSize).length"
    chat.open()
    assert chat.page.evaluate(cached) >= 10


def test_without_javascript_it_says_so(new_chat: Open) -> None:
    chat = new_chat(java_script_enabled=False)
    chat.page.goto(chat.address)
    expect(chat.page.locator(".noscript pre")).to_contain_text("curl http://127.0.0.1:8080/chat")
    expect(chat.page.locator("#app")).to_be_hidden()
    chat.check = lambda: None  # type: ignore[method-assign]  # nothing can be evaluated there


MEASURE = """controls => controls.map((control) => {
    const box = control.getBoundingClientRect();
    const name = control.innerText.trim() || control.getAttribute("aria-label");
    return [name, box.left, box.right, Math.min(box.width, box.height)];
})"""


@pytest.mark.parametrize(("size", "smallest"), [("phone", 44), ("desktop", 24)])
def test_everything_has_a_name_and_can_be_hit(new_chat: Open, script: Script, size: str, smallest: int) -> None:
    script.ready = READY | {"model": "small", "wanted": MODEL, "why": "no route", "hint": "edgechat pull"}
    script.will_refuse(500)
    chat = new_chat(viewport=SIZES[size], has_touch=size == "phone", is_mobile=size == "phone").open()
    for stage in ("empty", "error"):
        if stage == "error":
            chat.input.fill("Hello")
            chat.button("Send").click()
            expect(chat.answers.last.get_by_role("alert")).to_be_visible()
        controls = chat.page.locator("button:visible, a:visible").evaluate_all(MEASURE)
        assert len(controls) >= 4
        for name, left, right, smaller in controls:
            assert name
            assert smaller >= smallest, name
            assert 0 <= left < right <= SIZES[size]["width"], name
    expect(chat.page.get_by_role("log", name="Conversation")).to_have_attribute("aria-live", "off")
    expect(chat.page.get_by_role("textbox", name="Your message")).to_be_visible()


def test_speech_is_for_boundaries(chat: Chat, script: Script) -> None:
    chat.page.evaluate(
        """() => {
            window.said = [];
            const region = document.getElementById("announcer");
            const watch = new MutationObserver(() => said.push(region.textContent));
            watch.observe(region, { childList: true, characterData: true, subtree: true });
        }"""
    )
    script.will_say(PARAGRAPH * 5)
    chat.ask("Hello")
    expect(chat.answers.last.locator(".figures")).to_be_attached()
    assert chat.page.evaluate("said") == ["Answering", "Answer finished, 240 words"]


# Sizes

KEYBOARD = """() => {
    Object.defineProperty(visualViewport, "height", { get: () => 180, configurable: true });
    visualViewport.dispatchEvent(new Event("resize"));
}"""


def test_other_screens(new_chat: Open, script: Script) -> None:
    """A tablet, a large screen, a phone on its side with Safari's keyboard over half of the page."""
    id = script.records.add("Plan", "A question", PARAGRAPH * 2)
    for name, width, height in (("tablet", 768, 1024), ("large", 1920, 1080), ("landscape", 740, 360)):
        chat = new_chat(viewport={"width": width, "height": height}).open(f"?lang=en&c={id}")
        expect(chat.answers).to_have_count(1)
        if name == "landscape":
            chat.page.evaluate(KEYBOARD)
            box = chat.page.locator(".composer").bounding_box()
            assert box
            assert box["y"] + box["height"] <= 180
        chat.shot(f"size-{name}")
        assert chat.page.evaluate("document.documentElement.scrollWidth") == width


CLIPPED = """() => {
    const cut = ".sr, .row-title, .title, .model-name, .following p, .following p *, pre, option";
    return [...document.querySelectorAll("body *")].filter((node) => {
        const says = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
        return says && node.checkVisibility() && !node.closest(cut) && node.scrollWidth > node.clientWidth + 1
            && getComputedStyle(node).display !== "inline";
    }).map((node) => node.outerHTML.slice(0, 120));
}"""


@pytest.mark.parametrize("size", list(SIZES))
def test_words_that_are_longer_fit_too(new_chat: Open, script: Script, size: str) -> None:
    """A made-up language whose words are 40 % longer than English ones: nothing is cut off, nothing is untranslated."""

    def longer(route: Any) -> None:
        texts = json.loads((WEB / "i18n" / "en.json").read_text(encoding="utf-8"))
        pseudo = {key: f"⟦{text}{'ẽ' * (4 * len(text) // 10)}⟧" for key, text in texts.items()}
        route.fulfill(json=pseudo)

    chat = new_chat(viewport=SIZES[size])
    chat.page.route("**/i18n/en.json", longer)
    script.models = [{"name": MODEL, "state": "loaded", "size": 4e8, "ram": 7e8, "quantisation": "Q4_K_M"}]
    script.records.add("Plan", "q", "a")
    script.will(delta("A"), *finish(reason="length", used=4000))
    script.will_refuse(507)
    chat.open()
    for text in ("one", "two"):
        chat.ask(text)
        expect(chat.page.locator("#send")).to_be_visible()
    expect(chat.answers.last.get_by_role("alert")).to_be_visible()
    found = {"page": chat.page.evaluate(CLIPPED)}
    bare = "button:visible:not(:has-text('⟦')), label:visible:not(:has-text('⟦'))"
    names = chat.page.locator(bare).evaluate_all("all => all.map((one) => one.ariaLabel ?? one.textContent)")
    assert [name for name in names if "⟦" not in name and "Plan" not in name and "A small" not in name] == []
    for key, inside in (("Control+,", ".settings"), ("Control+/", ".keys")):
        chat.page.keyboard.press(key)
        chat.page.locator(inside).wait_for()
        found[inside] = chat.page.evaluate(CLIPPED)
        chat.page.keyboard.press("Escape")
    assert {where: what for where, what in found.items() if what} == {}


# On paper


def test_a_conversation_is_printed_whole_and_alone(new_chat: Open, script: Script) -> None:
    id = script.records.add("Plan", *[PARAGRAPH * 8 if number % 2 else "line\n" * 40 for number in range(12)])
    chat = new_chat(color_scheme="dark").open(f"?lang=en&c={id}")
    expect(chat.answers).to_have_count(6)
    chat.page.evaluate(
        "localStorage.setItem('edgechat.theme', '\"dark\"'); document.documentElement.dataset.theme = 'dark'"
    )
    chat.page.emulate_media(media="print", color_scheme="light")
    for screen_only in (".sidebar", ".bar", ".foot", ".own", ".tools"):
        expect(chat.page.locator(screen_only).first).to_be_hidden()
    expect(chat.answers).to_have_count(6)
    assert chat.page.locator("#list").evaluate("list => list.scrollHeight - list.clientHeight") <= 1
    assert chat.questions.first.locator(".text").evaluate("text => text.scrollHeight - text.clientHeight") <= 1
    sheets = len(re.findall(rb"/Type /Page\b", chat.page.pdf(format="A4")))
    assert sheets > 2
    colour = "getComputedStyle(document.body).backgroundColor"
    dark = chat.page.evaluate(colour)
    light = chat.page.evaluate(f"dispatchEvent(new Event('beforeprint')), {colour}")
    assert light == "rgb(251, 250, 247)" != dark
    assert chat.page.evaluate(f"dispatchEvent(new Event('afterprint')), {colour}") == dark
