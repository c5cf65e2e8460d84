"""How smoothly an answer streams. Numbers are printed, not asserted: other programs share the machine."""

import pytest

from tests.browser.conftest import Chat

pytestmark = pytest.mark.browser

PARAGRAPH = (
    "Some **text** with `code` and a [link](https://example.org).\n\n- one\n- two\n\n```python\nx = 1\ny = 2\n```\n\n"
    "| a | b |\n|---|---|\n| 1 | 2 |\n\n中文**重点：**说明，继续写下去。\n\n"
)
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


def test_a_flush_touches_only_the_last_block_however_long_the_answer_is(chat: Chat) -> None:
    given = {"module": chat.module("stream.js"), "paragraph": PARAGRAPH, "sizes": [1_000, 48_000]}
    short, long = chat.page.evaluate(FLUSHES, given)
    for found in (short, long):
        print(f"\nflush at {found['size']} characters: p95 {found['p95']:.2f} ms, {found['blocks']} blocks before")
    assert long["blocks"] > 20 * short["blocks"]
    assert long["touched"] == short["touched"]


FRAMES = """async ({module, text}) => {
    const { Body } = await import(module);
    const body = new Body(() => {});
    document.getElementById("messages").append(body.element);
    const gaps = [];
    let last = performance.now();
    let over = false;
    const frame = (now) => { gaps.push(now - last); last = now; if (!over) requestAnimationFrame(frame); };
    requestAnimationFrame(frame);
    const pieces = text.match(/[^]{1,4}/g);
    for (const piece of pieces) {
        body.push(piece);
        await new Promise((resolve) => setTimeout(resolve, 20));
    }
    over = true;
    body.finish();
    gaps.sort((a, b) => a - b);
    const within = gaps.filter((gap) => gap <= 17.5).length;
    return { frames: gaps.length, within, worst: gaps.at(-1), text: body.source };
}"""


def test_frames_while_fifty_pieces_a_second_arrive(chat: Chat) -> None:
    text = PARAGRAPH * 3
    found = chat.page.evaluate(FRAMES, {"module": chat.module("stream.js"), "text": text})
    share = found["within"] / found["frames"]
    print(f"\n{found['frames']} frames, {share:.0%} within 17.5 ms, the longest {found['worst']:.0f} ms")
    assert found["text"] == text
