"""What the page may cost: work that does not grow with an answer, and the times of its budget.

Other programs share the machine where `make test` runs, so times are printed there; `make torture` fails above them.
Bytes and files are held in tests/api/page/test_assets.py.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.browser.conftest import Chat, Open
from tests.browser.scripted import Script, delta, finish

pytestmark = pytest.mark.browser

TORTURE = bool(os.environ.get("EDGECHAT_TORTURE"))
PARAGRAPH = (
    "Some **text** with `code` and a [link](https://example.org).\n\n- one\n- two\n\n```python\nx = 1\ny = 2\n```\n\n"
    "| a | b |\n|---|---|\n| 1 | 2 |\n\n中文**重点：**说明，继续写下去。\n\n"
)
MACHINES = {"desktop": 1, "phone": 4}  # how many times slower than this one


def hold(what: str, found: float, most: float) -> None:
    """Say what was found; in torture mode, fail above the budget."""
    print(f"\n{what}: {found:.4g} of {most:g}")
    assert found <= most or not TORTURE, what


@contextmanager
def slower(chat: Chat, machine: str) -> Iterator[None]:
    """A processor so many times slower; a phone has a network of 20 Mbit/s and 20 ms, too."""
    devtools = chat.page.context.new_cdp_session(chat.page)
    devtools.send("Emulation.setCPUThrottlingRate", {"rate": MACHINES[machine]})
    if machine == "phone":
        line = {"offline": False, "latency": 20, "downloadThroughput": 2.5e6, "uploadThroughput": 2.5e6}
        devtools.send("Network.enable")
        devtools.send("Network.emulateNetworkConditions", line)
    try:
        yield
    finally:
        devtools.send("Emulation.setCPUThrottlingRate", {"rate": 1})
        devtools.detach()


FIRST = """() => new Promise((resolve) => {
    const found = { ready: performance.getEntriesByName("ready")[0].startTime, largest: 0, shift: 0 };
    const watch = new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) {
            if (entry.entryType === "layout-shift") found.shift += entry.hadRecentInput ? 0 : entry.value;
            else found.largest = entry.startTime;
        }
    });
    for (const type of ["largest-contentful-paint", "layout-shift"]) watch.observe({ type, buffered: true });
    setTimeout(() => resolve(found), 300);
})"""


@pytest.mark.parametrize(("machine", "ready_ms"), [("desktop", 500), ("phone", 1200)])
def test_the_first_load(new_chat: Open, script: Script, machine: str, ready_ms: float) -> None:
    chat = new_chat()
    with slower(chat, machine):
        found = chat.open().page.evaluate(FIRST)
        hold(f"{machine}: ms until one can type", found["ready"], ready_ms)
        hold(f"{machine}: ms until the largest paint", found["largest"], 1200)
        hold(f"{machine}: layout shift", found["shift"], 0.05)
        chat.open()
        sent = "performance.getEntriesByType('resource').filter((e) => e.name.includes('/ui/') && e.transferSize > 0)"
        assert chat.page.evaluate(f"{sent}.map((e) => e.name)") == []  # the second time all of it is there


FLUSHES = """async ({module, paragraph, sizes}) => {
    const { Body } = await import(module);
    const box = document.getElementById("messages");
    const found = [];
    for (const size of sizes) {
        const body = new Body(() => {});
        box.append(body.element);
        body.push(paragraph.repeat(Math.ceil(size / paragraph.length)));
        body.flush();
        const blocks = body.element.childElementCount;
        const times = [];
        let touched = 0;
        const watch = new MutationObserver((changes) => {
            for (const { target } of changes) touched += body.element.contains(target) ? 1 : 0;
        });
        watch.observe(body.element, { childList: true, subtree: true, characterData: true });
        for (let n = 0; n < 100; n += 1) {
            body.push(` word${n}`);
            const start = performance.now();
            body.flush();
            times.push(performance.now() - start);
        }
        await Promise.resolve();
        watch.disconnect();
        times.sort((a, b) => a - b);
        found.push({ size, blocks, touched, p95: times[94] });
        body.element.remove();
    }
    return found;
}"""


@pytest.mark.parametrize(("machine", "flush_ms"), [("desktop", 4), ("phone", 8)])
def test_a_flush_touches_only_the_last_block_however_long_the_answer_is(
    chat: Chat, machine: str, flush_ms: float
) -> None:
    given = {"module": chat.module("stream.js"), "paragraph": PARAGRAPH, "sizes": [1_000, 48_000]}
    with slower(chat, machine):
        short, long = chat.page.evaluate(FLUSHES, given)
    for found in (short, long):
        hold(f"{machine}: ms of a flush at {found['size']} characters, p95", found["p95"], flush_ms)
    assert long["blocks"] > 20 * short["blocks"]
    assert long["touched"] == short["touched"]


FRAMES = """async ({module, text, pause}) => {
    const { Body } = await import(module);
    const body = new Body(() => {});
    document.getElementById("messages").append(body.element);
    document.getElementById("empty").hidden = true;
    await new Promise((settled) => setTimeout(settled, 200)); // loading the code is another matter
    const gaps = [];
    let last = performance.now(), over = false, long = 0;
    const watch = new PerformanceObserver((list) => (long += list.getEntries().length));
    watch.observe({ type: "longtask" });
    const frame = (now) => { gaps.push(now - last); last = now; if (!over) requestAnimationFrame(frame); };
    requestAnimationFrame(frame);
    for (const piece of text.match(/[^]{1,4}/g)) {
        body.push(piece);
        await new Promise((resolve) => setTimeout(resolve, pause));
    }
    over = true;
    body.finish();
    watch.disconnect();
    return { smooth: gaps.filter((gap) => gap <= 17.5).length / gaps.length, long, text: body.source };
}"""


@pytest.mark.parametrize(("machine", "share"), [("desktop", 0.97), ("phone", 0.90)])
def test_fifty_pieces_a_second_arrive(new_chat: Open, machine: str, share: float) -> None:
    """In torture mode 2,000 of them, with code, tables and lists."""
    chat = new_chat().open()
    text = PARAGRAPH * (45 if TORTURE else 1)
    heap = chat.page.context.new_cdp_session(chat.page)
    heap.send("Performance.enable")
    before = kept(heap)
    with slower(chat, machine):
        given = {"module": chat.module("stream.js"), "text": text, "pause": 20}
        found = chat.page.evaluate(FRAMES, given)
    assert found["text"] == text
    hold(f"{machine}: share of frames that are late", 1 - found["smooth"], 1 - share)
    hold(f"{machine}: tasks over 50 ms", found["long"], 1)
    hold(f"{machine}: MB of memory more", (kept(heap) - before) / 1e6, 10)


def kept(devtools: Any) -> float:
    """Bytes of JavaScript that are still used."""
    devtools.send("HeapProfiler.collectGarbage")
    metrics = devtools.send("Performance.getMetrics")["metrics"]
    return float(next(one["value"] for one in metrics if one["name"] == "JSHeapUsedSize"))


OPEN = """() => new Promise((resolve) => {
    const start = performance.now();
    document.querySelector("#conversations a").click();
    const look = () => {
        const last = [...document.querySelectorAll("article")].at(-1);
        if (!last?.textContent.includes("text 199")) return requestAnimationFrame(look);
        requestAnimationFrame(() => resolve(performance.now() - start));
    };
    look();
})"""


@pytest.mark.alone
@pytest.mark.parametrize(("machine", "most_ms"), [("desktop", 400), ("phone", 1000)])
def test_a_conversation_of_two_hundred_messages_opens(
    new_chat: Open, script: Script, machine: str, most_ms: float
) -> None:
    script.records.add("Long", *[PARAGRAPH + f"text {n}" for n in range(200)])
    chat = new_chat().open()
    chat.rows.first.wait_for()
    with slower(chat, machine):
        hold(f"{machine}: ms to open 200 messages", chat.page.evaluate(OPEN), most_ms)
    chat.page.locator("article").nth(199).wait_for(state="attached")  # the earlier ones follow, when nothing else does


def test_typing_while_an_answer_streams(new_chat: Open, script: Script) -> None:
    script.will(*[delta(PARAGRAPH[at : at + 4]) for at in range(0, len(PARAGRAPH), 4)] * 5, *finish())
    chat = new_chat().open()
    chat.page.evaluate(
        """() => {
            window.slowest = 0;
            new PerformanceObserver((list) => {
                const keys = list.getEntries().filter((entry) => entry.interactionId);
                slowest = Math.max(slowest, ...keys.map((entry) => entry.duration));
            }).observe({ type: "event", durationThreshold: 16 });
        }"""
    )
    chat.ask("Go")
    chat.page.keyboard.type("typing goes on while it is written", delay=10)
    chat.answers.last.locator(".figures").wait_for()
    hold("ms from a key to the next paint", chat.page.evaluate("slowest"), 150)
