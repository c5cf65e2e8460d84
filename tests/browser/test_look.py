"""How the page looks and moves: scrolling, languages, sizes, weight, screenshots."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.conftest import TIMEOUT_MS, Chat, Open
from tests.browser.scripted import MODEL, READY, Gate, Script, delta, failed, finish, thought

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


RICH = """## Quicksort in a few lines

Pick a **pivot**, put what is smaller before it and what is larger behind it:

```python
def quicksort(items: list[int]) -> list[int]:
    if len(items) < 2:  # nothing to do
        return items
    pivot, *rest = items
    smaller = [item for item in rest if item < pivot]
    return quicksort(smaller) + [pivot] + quicksort([item for item in rest if item >= pivot])
```

| case | comparisons | when |
|---|---:|---|
| best | n log n | the pivot halves the list |
| worst | n² | it is sorted already |

1. Choose `items[0]`, or better *any* element.
2. Split the rest:
   - smaller ones
   - larger ones

> A choice at random makes the worst case unlikely. See [the proof](https://example.org/proof).
"""
RICH_CHINESE = """## 快速排序

先选一个**基准：**比它小的放前面，比它大的放后面。

```python
def quicksort(items: list[int]) -> list[int]:
    if len(items) < 2:  # 不用排
        return items
    pivot, *rest = items
    smaller = [item for item in rest if item < pivot]
    return quicksort(smaller) + [pivot] + quicksort([item for item in rest if item >= pivot])
```

| 情况 | 比较次数 | 何时出现 |
|---|---:|---|
| 最好 | n log n | 基准正好把列表分成两半 |
| 最坏 | n² | 列表已经有序 |

1. 选 `items[0]`，或者*“随机”*选一个元素。
2. 把其余的分成两组：
   - **较小的（含相等）：**放左边
   - 较大的

> 随机选择可以避免最坏情况。参见[证明](https://example.org/proof)。
"""


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
    script.will_refuse(500)
    chat.ask("Hello")
    expect(chat.answer).to_have_text("A word")
    chat.button("中文").click()
    expect(chat.page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(chat.button("停止回答")).to_be_visible()
    expect(chat.input).to_have_attribute("placeholder", "想问点什么？")
    gate.set()
    expect(chat.answers.last.locator(".badge")).to_have_text("已达长度上限")
    expect(chat.answers.last.locator(".figures")).to_have_text("412 个 token，每秒 6.2 个，首字 1.8 秒")
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


# Screenshots, to be looked at


def model(name: str, state: str, size: int, **more: Any) -> dict[str, Any]:
    """A row of GET /api/models."""
    return {"name": name, "state": state, "size": size, "ram": size + 300_000_000, "quantisation": "Q4_K_M"} | more


MODELS = [
    model("qwen1.5-0.5b-chat", "loaded", 407_000_000),
    model("qwen2.5-1.5b-instruct", "installed", 1_117_000_000),
    model("qwen3-0.6b", "downloading", 484_000_000, progress=0.4, received=194_000_000, rate=4_100_000, left=71),
    model("qwen1.5-7b-chat", "available", 4_770_000_000),
]


def scenes(chat: Chat, script: Script, name: str, words: dict[str, Any]) -> None:
    script.models = MODELS
    for at, title in enumerate(words["titles"]):
        script.records.add(title, words["question"], words["answer"], hours_ago=at * 20, pinned=at == 3)
    chat.open(words["query"])
    expect(chat.page.locator("#conversations")).to_be_attached()
    chat.shot(f"{name}-1-empty")
    script.will(thought(words["second"]), *[delta(words["answer"][at : at + 9]) for at in range(0, 400, 9)], *finish())
    chat.ask(words["question"])
    expect(chat.answers.last.locator(".figures")).to_be_attached()
    script.will(*[delta(words["rich"][at : at + 9]) for at in range(0, len(words["rich"]), 9)], *finish(used=3500))
    chat.ask(words["second"])
    expect(chat.answers.last.locator(".figures")).to_be_attached()
    chat.shot(f"{name}-2-conversation")
    chat.page.locator("#list").evaluate("list => list.scrollTo(0, 0)")
    chat.shot(f"{name}-3-top")
    gate = Gate()
    script.will(("prefill", {"done": 450, "total": 1000, "eta_s": 6.0}), gate, delta(words["answer"][:30]), Gate())
    chat.ask(words["second"])
    expect(chat.status).to_be_visible()
    chat.ask(words["question"])
    chat.shot(f"{name}-4-reading")
    gate.set()
    expect(chat.answer).to_have_text(words["answer"][:30])
    chat.page.locator("#following-drop").click()
    chat.page.locator("#stop").click()
    expect(chat.answers.last.locator(".badge")).to_be_attached()
    script.will(delta(words["answer"][:20]), failed("engine_failed", "the engine's process ended (signal 9)"))
    chat.ask(words["question"])
    expect(chat.answers.last.get_by_role("alert")).to_be_visible()
    chat.shot(f"{name}-5-stopped-and-error")
    script.ready = READY | {
        "model": "smollm2-135m-instruct",
        "wanted": MODEL,
        "why": "the hub cannot be reached: connection refused",
        "hint": f"edgechat pull {MODEL}",
        "languages": ["en"],
    }
    chat.open(words["query"])
    chat.page.route("**/readyz", lambda route: route.abort())
    chat.shot(f"{name}-6-replaced")
    chat.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(chat.page.locator("#offline")).to_be_visible()
    chat.shot(f"{name}-7-offline")
    dialogs(chat, name)


def dialogs(chat: Chat, name: str) -> None:
    """What opens over the conversation."""
    if chat.page.locator("#sidebar").is_hidden():
        chat.page.locator("#sidebar-toggle").click()
        chat.shot(f"{name}-8-list")
        chat.page.keyboard.press("Escape")
    for number, key in ((9, "Control+,"), (10, "Control+/")):
        chat.page.keyboard.press(key)
        expect(chat.page.locator("#dialog")).to_be_visible()
        expect(chat.page.locator("#dialog-body > *")).not_to_have_count(0)
        chat.shot(f"{name}-{number}-dialog")
        chat.page.keyboard.press("Escape")
    chat.page.locator("#model").click()
    expect(chat.page.locator(".models li").first).to_be_visible()
    chat.shot(f"{name}-11-models")
    chat.page.keyboard.press("Escape")


WORDS = {
    "en": {
        "question": "Why is the sky blue?",
        "second": "And why are sunsets red? Please explain it so that a child of eight understands it.",
        "answer": ENGLISH,
        "query": "?lang=en",
        "titles": [
            "Why is the sky blue?",
            "Dinner for four",
            "Docker without root: a long title that does not fit",
            "Plan",
        ],
        "rich": RICH,
    },
    "zh": {
        "question": "天空为什么是蓝色的？",
        "second": "那晚霞为什么是红色的？请用八岁孩子听得懂的话解释一下，最好举个例子。",
        "answer": CHINESE,
        "query": "?lang=zh",
        "titles": ["天空为什么是蓝色的？", "四个人的晚饭", "用 Python 写快速排序，并解释每一步的时间复杂度", "计划"],
        "rich": RICH_CHINESE,
    },
}


@pytest.mark.parametrize(
    ("size", "scheme", "language"),
    [("desktop", "light", "en"), ("desktop", "dark", "zh"), ("phone", "light", "zh"), ("phone", "dark", "en")],
)
def test_screenshots(new_chat: Open, script: Script, size: str, scheme: str, language: str) -> None:
    words = WORDS[language]
    chat = new_chat(viewport=SIZES[size], color_scheme=scheme)
    scenes(chat, script, f"{size}-{scheme}-{language}", words)
