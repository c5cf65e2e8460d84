"""How the page looks and moves: scrolling, languages, sizes, weight, screenshots."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.conftest import TIMEOUT_MS, Chat, Open
from tests.browser.scripted import DONE, MODEL, READY, Gate, Script, delta, error, event, finish

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
expect = sync_api.expect
pytestmark = pytest.mark.browser

PARAGRAPH = "The tide comes in and goes out again, and nobody has to do anything about it. " * 3 + "\n\n"
SIZES = {"phone": {"width": 360, "height": 740}, "desktop": {"width": 1280, "height": 800}}
END = "list => list.scrollHeight - list.clientHeight - list.scrollTop"
ENGLISH = (
    "Sunlight looks white, but it is a mixture of all colours. On its way through the air, short waves, that is blue "
    "light, are scattered far more than long ones.\n\nSo wherever you look, a little blue reaches your eye from that "
    "direction. At sunset the light travels a longer way: most of the blue is gone, and red remains."
)
CHINESE = (
    "天空看起来是蓝色的，主要是因为“瑞利散射”。阳光由各种颜色的光组成；穿过大气层时，波长较短的蓝光比波长较长的红光"
    "更容易被空气分子散射到四面八方。\n\n因此，无论朝哪个方向看，都有蓝光进入眼睛。到了傍晚，阳光要穿过更厚的大气，"
    "蓝光大多已被散射掉，剩下的 red light 让晚霞呈现橙红色（约 620–750 nm）。"
)


def until(holds: Callable[[], bool]) -> None:
    """Wait for something only a script can see. (The page's policy forbids Playwright's own way: it evaluates text.)"""
    deadline = time.monotonic() + TIMEOUT_MS / 1000
    while not holds():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


# Scrolling


def test_the_reader_who_scrolled_up_is_never_moved(new_chat: Open, script: Script) -> None:
    more, last = Gate(), Gate()
    script.will(delta(PARAGRAPH * 12), more, delta(PARAGRAPH * 6), last, delta(PARAGRAPH * 6), *finish())
    chat = new_chat(viewport={"width": 800, "height": 600}).open()
    chat.ask("Tell me about the tide")
    listing = chat.page.locator("#list")
    expect(chat.answer).to_contain_text("The tide")
    assert listing.evaluate(END) <= 1  # it follows
    listing.hover()
    chat.page.mouse.wheel(0, -400)
    until(lambda: listing.evaluate(END) > 300)
    top = listing.evaluate("list => list.scrollTop")
    more.set()
    button = chat.button("New text below")
    expect(button).to_be_visible()
    last.set()
    expect(chat.answers.last.locator(".figures")).to_be_attached()
    assert listing.evaluate("list => list.scrollTop") == top
    button.click()
    expect(button).to_be_hidden()
    assert listing.evaluate(END) <= 1


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
    script.will("", status=500)
    chat.ask("Hello")
    expect(chat.answer).to_have_text("A word")
    chat.button("中文").click()
    expect(chat.page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(chat.button("停止回答")).to_be_visible()
    expect(chat.input).to_have_attribute("placeholder", "想问点什么？")
    gate.set()
    expect(chat.answers.last.locator(".badge")).to_have_text("已达长度上限")
    expect(chat.answers.last.locator(".figures")).to_have_text("412 个 token，每秒 6.2 个")
    chat.ask("再问一次")
    expect(chat.answers.last.get_by_role("alert")).to_contain_text("服务器出错了。")
    chat.button("English").click()
    expect(chat.answers.first.locator(".badge")).to_have_text("Reached the length limit")
    expect(chat.answers.first.locator(".figures")).to_have_text("412 tokens · 6.2 tok/s")
    expect(chat.answers.last.get_by_role("alert")).to_contain_text("Something went wrong on the server.")
    expect(chat.answers.first.locator(".text")).to_have_text("A word")


def test_the_language_to_start_with(new_chat: Open) -> None:
    chat = new_chat(locale="zh-TW").open("")
    expect(chat.page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(chat.page.get_by_role("heading", level=2)).to_have_text("今天想聊点什么？")
    expect(chat.page.locator("#examples button")).to_have_count(4)
    chat.open("?lang=en")  # the address goes before the browser's wish
    expect(chat.page.locator("html")).to_have_attribute("lang", "en")
    expect(chat.page.get_by_role("heading", level=2)).to_have_text("What would you like to know?")


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
    assert len(chat.requests) <= 20
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


MEASURE = """buttons => buttons.map((button) => {
    const box = button.getBoundingClientRect();
    const name = button.innerText.trim() || button.getAttribute("aria-label");
    return [name, box.left, box.right, Math.min(box.width, box.height)];
})"""


@pytest.mark.parametrize("size", list(SIZES))
def test_everything_has_a_name_and_can_be_hit(new_chat: Open, script: Script, size: str) -> None:
    script.ready = READY | {"model": "small", "wanted": MODEL, "why": "no route", "hint": "edgechat pull"}
    script.will("", status=500)
    chat = new_chat(viewport=SIZES[size]).open()
    for stage in ("empty", "error"):
        if stage == "error":
            chat.ask("Hello")
            expect(chat.answers.last.get_by_role("alert")).to_be_visible()
        controls = chat.page.locator("button:visible").evaluate_all(MEASURE)
        assert len(controls) >= 4
        for name, left, right, smaller in controls:
            assert name
            assert smaller >= 44, name
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
    assert chat.page.evaluate("said") == ["Answering", "Answer finished"]


# Screenshots, to be looked at


def scenes(chat: Chat, script: Script, name: str, words: dict[str, Any]) -> None:
    chat.shot(f"{name}-1-empty")
    script.will_say(words["answer"])
    chat.ask(words["question"])
    expect(chat.answers.last.locator(".figures")).to_be_attached()
    script.will_say(words["answer"][:60], reason="length", tokens=32)
    chat.ask(words["second"])
    expect(chat.answers.last.locator(".badge")).to_be_attached()
    chat.shot(f"{name}-2-conversation")
    gate = Gate()
    script.will(delta(words["answer"][:30]), gate, DONE)
    chat.ask(words["second"])
    expect(chat.answer).to_have_text(words["answer"][:30])
    chat.page.locator("#stop").click()
    expect(chat.answers.last.locator(".badge")).to_be_attached()
    script.will(delta(words["answer"][:20]), event(error("engine_failed", "the engine's process ended (signal 9)")))
    chat.ask(words["question"])
    expect(chat.answers.last.get_by_role("alert")).to_be_visible()
    chat.shot(f"{name}-3-stopped-and-error")
    script.ready = {"state": "downloading", "model": MODEL, "progress": 0.42}
    chat.page.reload()
    expect(chat.status).to_be_visible()
    chat.ask(words["question"])
    chat.input.fill(words["question"] + "\n" + words["second"])
    chat.shot(f"{name}-4-waiting")
    script.ready = READY | {
        "model": "smollm2-135m-instruct",
        "wanted": MODEL,
        "why": "the hub cannot be reached: connection refused",
        "hint": f"edgechat pull {MODEL}",
    }
    chat.open(words["query"])
    chat.page.route("**/readyz", lambda route: route.abort())
    chat.shot(f"{name}-5-replaced")
    chat.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(chat.page.locator("#offline")).to_be_visible()
    chat.shot(f"{name}-6-offline")


WORDS = {
    "en": {
        "question": "Why is the sky blue?",
        "second": "And why are sunsets red? Please explain it so that a child of eight understands it.",
        "answer": ENGLISH,
        "query": "?lang=en",
    },
    "zh": {
        "question": "天空为什么是蓝色的？",
        "second": "那晚霞为什么是红色的？请用八岁孩子听得懂的话解释一下，最好举个例子。",
        "answer": CHINESE,
        "query": "?lang=zh",
    },
}


@pytest.mark.parametrize(
    ("size", "scheme", "language"),
    [("desktop", "light", "en"), ("desktop", "dark", "zh"), ("phone", "light", "zh"), ("phone", "dark", "en")],
)
def test_screenshots(new_chat: Open, script: Script, size: str, scheme: str, language: str) -> None:
    words = WORDS[language]
    chat = new_chat(viewport=SIZES[size], color_scheme=scheme).open(words["query"])
    scenes(chat, script, f"{size}-{scheme}-{language}", words)
