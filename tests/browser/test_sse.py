"""js/sse.js by itself, in the browser: bytes in, events out, however they are cut."""

import random
from typing import Any

import pytest

from tests.browser.conftest import Chat

pytestmark = pytest.mark.browser

PARSE = """async ({module, pieces}) => {
    const { SseParser } = await import(module);
    return pieces.map((cuts) => {
        const parser = new SseParser();
        return [...cuts.flatMap((bytes) => parser.push(new Uint8Array(bytes))), ...parser.end()];
    });
}"""


def parse(chat: Chat, *ways: list[bytes]) -> list[list[dict[str, Any]]]:
    """The events of each way to cut a stream."""
    pieces = [[list(part) for part in way] for way in ways]
    found: list[list[dict[str, Any]]] = chat.page.evaluate(PARSE, {"module": chat.module("sse.js"), "pieces": pieces})
    return found


def message(data: str, event: str = "message", id: str = "") -> dict[str, Any]:
    return {"event": event, "data": data, "id": id}


CASES: list[tuple[str, list[dict[str, Any]]]] = [
    ("data: one\n\ndata: two\n\n", [message("one"), message("two")]),
    ("data: a\ndata: b\ndata\n\n", [message("a\nb\n")]),
    ("data:no space\n\ndata:  two\n\n", [message("no space"), message(" two")]),
    (": queued 2 of 4\n\n:\n", [{"comment": "queued 2 of 4"}, {"comment": ""}]),
    ("data: a\n: between\ndata: b\n\n", [{"comment": "between"}, message("a\nb")]),
    ("event: done\nid: 7\ndata: x\n\ndata: y\n\n", [message("x", "done", "7"), message("y", id="7")]),
    ("event: empty\n\ndata: y\n\n", [message("y")]),
    ("data: cr\r\rdata: crlf\r\n\r\n", [message("cr"), message("crlf")]),
    ("data: a\r\ndata: b\r\n\r\n", [message("a\nb")]),
    ("data: last\r\r", [message("last")]),
    ("\ufeffdata: mark\n\n", [message("mark")]),
    ("data: a: b\n\nunknown: x\nretry: 5\n\n", [message("a: b")]),
    ("data: cut off\n", []),
    ("data: cut off", []),
    ("", []),
]


def test_events(chat: Chat) -> None:
    raws = [stream.encode() for stream, _ in CASES]
    ways = [way for raw in raws for way in ([raw], [bytes([byte]) for byte in raw])]
    found = parse(chat, *ways)
    for at, (stream, events) in enumerate(CASES):
        assert found[2 * at] == events, stream
        assert found[2 * at + 1] == events, f"byte by byte: {stream}"


def test_any_cut_gives_the_same_events(chat: Chat) -> None:
    raw = "data: 中文🙂\r\n\r\n: prefill 1 of 2\r\ndata: a\rdata: 字\n\nid: é\ndata: ü\r\r\n".encode()
    rng = random.Random(7)
    ways = [[raw]]
    for _ in range(200):
        cuts = sorted(rng.sample(range(1, len(raw)), rng.randrange(1, 12)))
        ways.append([raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)])
    whole, *others = parse(chat, *ways)
    assert [found.get("data") for found in whole] == ["中文🙂", None, "a\n字", "ü"]
    assert all(other == whole for other in others)
