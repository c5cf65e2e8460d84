"""Every state of the page, light and dark, Chinese and English, wide and narrow: axe-core objects to nothing, and
screenshots are kept to be looked at.

One page per width walks through all states. In each it takes one of four looks in turn; in torture mode, all of them.
"""

import json
import math
import os
from collections.abc import Iterator
from typing import Any, Literal

import pytest

from tests.browser.conftest import Chat, Open
from tests.browser.scripted import MODEL, READY, Cut, Gate, Script, delta, failed, finish, problem, thought
from tests.browser.test_accessibility import AXE, RULES
from tests.browser.texts import ANSWER, QUESTION, RICH, SECOND, TITLES

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
expect = sync_api.expect
pytestmark = pytest.mark.browser

TORTURE = bool(os.environ.get("EDGECHAT_TORTURE"))
LOOKS: list[tuple[str, Literal["light", "dark"]]] = [("en", "light"), ("zh", "dark"), ("zh", "light"), ("en", "dark")]
SIZES = {"wide": {"width": 1280, "height": 800}, "narrow": {"width": 360, "height": 740}}
PASTE = """(input, text) => {
    const data = new DataTransfer();
    data.setData("text/plain", text);
    input.value = text;
    input.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
    input.dispatchEvent(new InputEvent("input", { bubbles: true }));
}"""


def violations(chat: Chat) -> list[str]:
    """What axe objects to, with the element."""
    if not chat.page.evaluate("'axe' in window"):
        chat.page.evaluate(AXE.read_text(encoding="utf-8"))
    result: dict[str, Any] = chat.page.evaluate("rules => axe.run(document, rules)", RULES)
    return [f"{found['id']}: {node['html']}" for found in result["violations"] for node in found["nodes"]]


@pytest.mark.parametrize("size", list(SIZES))
def test_every_state(new_chat: Open, script: Script, size: str) -> None:
    chat = new_chat(viewport=SIZES[size], color_scheme="light", reduced_motion="reduce")
    found = {}
    for number, state in enumerate(walk(chat, script), 2 * list(SIZES).index(size)):
        for language, scheme in LOOKS if TORTURE else [LOOKS[number % len(LOOKS)]]:
            speak(chat, language)
            chat.page.emulate_media(color_scheme=scheme)
            found[f"{state}, {language}, {scheme}"] = violations(chat)
            chat.shot(f"{size}-{number:02}-{state}-{language}-{scheme}")
        speak(chat, "en")
    assert {state: what for state, what in found.items() if what} == {}


def speak(chat: Chat, language: str) -> None:
    """Switch the language, in whatever state the page is."""
    html = chat.page.locator("html")
    if not (html.get_attribute("lang") or "").startswith(language):
        chat.page.locator("#language").evaluate("button => button.click()")
        expect(html).to_have_attribute("lang", "en" if language == "en" else "zh-CN")


def walk(chat: Chat, script: Script) -> Iterator[str]:
    """Bring the page into one state after the other; yields their names."""
    script.models = MODELS
    for at, title in enumerate(TITLES):
        script.records.add(title, QUESTION, ANSWER, hours_ago=at * 20, pinned=at == 3)
    script.figures = {"running": 1, "waiting": 2, "speed": [6 + 3 * math.sin(n / 5) + n % 2 for n in range(60)]}
    chat.open()
    expect(chat.rows).to_have_count(len(TITLES))
    yield "empty"
    yield from before_the_model(chat, script)
    yield from one_answer(chat, script)
    yield from ends(chat, script)
    yield from connection(chat, script)
    yield from composing(chat)
    yield from beside(chat, script)
    yield from dialogs(chat, script)


def look(chat: Chat, script: Script, **news: Any) -> None:
    """Let the server say something else of itself, and the page ask."""
    script.ready = READY | news
    chat.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def before_the_model(chat: Chat, script: Script) -> Iterator[str]:
    download = {"received": 312_000_000, "size": 398_000_000, "rate": 4_100_000, "left": 21.0}
    look(chat, script, state="downloading", progress=0.78, download=download)
    expect(chat.status).to_contain_text("312 MB of 398 MB")
    yield "downloading"
    look(chat, script, state="loading", progress=0.4)
    expect(chat.status).to_contain_text("40%")
    yield "loading"
    look(
        chat,
        script,
        model="smollm2-135m-instruct",
        wanted=MODEL,
        why="no route",
        hint="edgechat pull",
        languages=["en"],
    )
    expect(chat.page.locator("#notice")).to_be_visible()
    yield "replaced"
    look(chat, script)
    expect(chat.page.locator("#notice")).to_be_hidden()


def one_answer(chat: Chat, script: Script) -> Iterator[str]:
    gates = [Gate() for _ in range(4)]
    script.will(
        *(("queued", {"position": 2, "eta_s": 30.0}), gates[0]),
        *(("prefill", {"done": 450, "total": 1000, "eta_s": 6.0}), gates[1]),
        *(thought(SECOND), gates[2]),
        *(delta(RICH[:1200]), gates[3], delta(RICH[1200:])),
        *finish(used=3500),
    )
    chat.ask(QUESTION)
    expect(chat.status).to_contain_text("Place 2")
    yield "queued"
    gates[0].set()
    expect(chat.status).to_contain_text("45%")
    yield "reading"
    gates[1].set()
    expect(chat.answers.last.locator(".thoughts")).to_be_visible()
    yield "thinking"
    gates[2].set()
    expect(chat.answer.locator(".code")).to_be_visible()
    chat.ask(SECOND)
    yield "streaming"
    chat.page.locator("#following-drop").click()
    gates[3].set()
    expect(chat.answers.last.locator(".figures")).to_be_attached()
    yield "answered"
    chat.page.locator("#list").evaluate("list => list.scrollTo(0, 0)")
    yield "answered-top"


def ends(chat: Chat, script: Script) -> Iterator[str]:
    script.will(delta(ANSWER[:120]), Gate())
    chat.ask(SECOND)
    expect(chat.answer).to_contain_text(ANSWER[:20])
    chat.page.locator("#stop").click()
    expect(chat.answers.last.locator(".badge")).to_be_visible()
    yield "stopped"
    script.will(delta(ANSWER), *finish(reason="length", used=3990))
    chat.ask(SECOND)
    expect(chat.page.locator("#context-full")).to_be_visible()
    yield "length"
    script.will(delta(ANSWER[:120]), failed("engine_failed", "the engine's process ended (signal 9)"))
    chat.ask(SECOND)
    chat.answers.last.locator("summary").click()
    yield "error"
    script.will_refuse(507, problem("out_of_memory", "qwen2.5-7b-instruct needs 5.1 GB, and 2.4 GB are free"))
    chat.ask(SECOND)
    expect(chat.answers.last.get_by_role("alert")).to_be_visible()
    yield "no-memory"


def connection(chat: Chat, script: Script) -> Iterator[str]:
    chat.page.locator("#new-chat").evaluate("button => button.click()")
    script.will_refuse(429, problem("busy", "slow down"), **{"Retry-After": "50"})
    chat.ask(QUESTION)
    expect(chat.status).to_contain_text("Too many requests")
    yield "limited"
    chat.page.locator("#stop").click()
    expect(chat.page.locator("#send")).to_be_visible()
    chat.page.route("**/readyz", lambda route: route.abort())
    chat.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(chat.page.locator("#offline")).to_be_visible()
    yield "offline"
    chat.page.unroute("**/readyz")
    chat.page.locator("#offline-retry").click()
    expect(chat.page.locator("#offline")).to_be_hidden()
    cut = Gate()
    script.will(delta(ANSWER[:120]), cut, Cut(), Gate())
    chat.ask(QUESTION)
    expect(chat.answer).to_contain_text(ANSWER[:20])
    chat.page.route("**/events", lambda route: route.abort())
    cut.set()
    expect(chat.status).to_contain_text("reconnecting")
    yield "reconnecting"
    script.restart()
    chat.page.unroute("**/events")
    chat.page.evaluate("dispatchEvent(new Event('online'))")
    expect(chat.answers.last.get_by_role("alert")).to_be_visible(timeout=40_000)
    yield "interrupted"


def composing(chat: Chat) -> Iterator[str]:
    chat.input.fill("")
    chat.input.press("ArrowUp")
    expect(chat.questions.last.locator("form")).to_be_visible()
    yield "edit"
    chat.page.keyboard.press("Escape")
    chat.input.evaluate(PASTE, "\n".join(f"2026-11-26 12:00:{n:02} worker started" for n in range(60)) * 3)
    expect(chat.page.locator("#attach")).to_be_visible()
    yield "pasted"
    chat.page.locator("#attach").click()
    expect(chat.page.locator("#attached")).to_be_visible()
    yield "attached"
    chat.page.locator("#attached-drop").click()


def beside(chat: Chat, script: Script) -> Iterator[str]:
    """The list of conversations, its menu, and a long conversation."""
    long = script.records.add("Counting", *[f"text {n}" for n in range(300)])
    chat.open(f"?lang=en&c={long}")
    expect(chat.page.locator("article")).to_have_count(60)
    chat.page.locator("#list").evaluate("list => list.scrollTo(0, 0)")
    yield "long"
    chat.page.locator("#list").evaluate("list => list.scrollTo(0, list.scrollHeight)")
    chat.answers.last.locator("[data-i18n-label='settings.more']").click()
    yield "menu"
    chat.page.keyboard.press("Escape")
    open_list(chat)
    chat.rows.first.hover()
    yield "list"
    chat.page.locator("#search").fill("text 7")
    expect(chat.page.locator("mark").first).to_be_visible()
    yield "search"
    chat.page.locator("#search").fill("")
    expect(chat.page.locator("mark")).to_have_count(0)
    chat.rows.filter(has_text="Counting").locator("[data-i18n-label='list.more']").evaluate("button => button.click()")
    chat.page.locator("#menu [data-i18n='list.delete']").click()
    expect(chat.page.locator(".toast")).to_be_visible()
    yield "undo"
    open_list(chat)
    chat.page.locator("#deleted").click()
    expect(chat.rows).to_have_count(1)
    yield "deleted"
    chat.page.locator("#deleted").click()
    chat.page.evaluate("document.getElementById('sheet').close()")


def open_list(chat: Chat) -> None:
    """On a narrow screen the list is a sheet."""
    if chat.page.locator("#sidebar").is_hidden():
        chat.page.locator("#sidebar-toggle").click()


def dialogs(chat: Chat, script: Script) -> Iterator[str]:
    chat.page.keyboard.press("Control+,")
    expect(chat.page.locator(".default").filter(has_text="0.7")).to_be_visible()
    yield "settings"
    broken = json.dumps({"messages": []}).encode()
    chat.page.locator("input[type=file]").set_input_files(
        {"name": "chats.json", "mimeType": "application/json", "buffer": broken}
    )
    expect(chat.page.locator(".report.bad")).to_be_visible()
    chat.page.locator(".report.bad").scroll_into_view_if_needed()
    yield "import"
    chat.page.keyboard.press("Escape")
    chat.page.keyboard.press("Control+/")
    expect(chat.page.locator(".keys")).to_be_visible()
    yield "keys"
    chat.page.keyboard.press("Escape")
    chat.page.locator("#model").click()
    expect(chat.page.locator(".models li").first).to_be_visible()
    yield "models"
    chat.page.keyboard.press("Escape")
    script.key = "ek-secret"
    chat.open()
    expect(chat.page.locator(".login")).to_be_visible()
    yield "login"


def model(name: str, state: str, size: int, **more: Any) -> dict[str, Any]:
    """A row of GET /api/models."""
    return {"name": name, "state": state, "size": size, "ram": size + 300_000_000, "quantisation": "Q4_K_M"} | more


MODELS = [
    model(MODEL, "loaded", 407_000_000),
    model("qwen2.5-1.5b-instruct", "installed", 1_117_000_000),
    model("qwen2.5-7b-instruct", "installed", 4_700_000_000),
    model("qwen3-0.6b", "downloading", 484_000_000, progress=0.4, received=194_000_000, rate=4_100_000, left=71),
    model("qwen1.5-7b-chat", "available", 4_770_000_000),
]
