"""Mutated pictures (fuzzing) against a real server whose model sees: every one is answered, or refused by name.

`make test` shows it a few; EDGECHAT_TORTURE=1 shows 2,000, and counts (`-s`, `-rP`): outcomes, restarts, memory, how
fast /healthz was meanwhile.
"""

import os
import random
import struct
import zlib
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from typing import Any

import httpx
import psutil
import pytest
from PIL import Image

from tests.e2e.conftest import serve
from tests.e2e.prober import probing
from tests.engine.test_sees import MODEL, PROJECTOR
from tests.media.test_picture import LARGE
from tests.pictures import drawn, encoded, kinds, mutated, upright

MUTANTS = 2000 if "EDGECHAT_TORTURE" in os.environ else 40
AT_ONCE = 2
GROWTH = 96 << 20  # bytes of server, worker and the process that sees: one 36-megapixel picture kept would be more
ASK = "What is it?"
REFUSALS = {"invalid_media", "invalid_request", "unsupported_media", "context_length_exceeded"}

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(not PROJECTOR.exists(), reason="the tiny model that sees is not beside the project"),
]


def png(width: int, height: int, rows: bytes, interlaced: int = 0) -> bytes:
    """A PNG of 8 bits a colour, with those rows."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, interlaced))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


PASSES = ((1, 1), (1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (8, 4))  # of 8 × 8 pixels, interlaced: columns, rows


def odd() -> dict[str, bytes]:
    """What is right, and rare."""
    profile = bytes(36) + b"acsp" + bytes(100)  # a colour profile that nobody could use
    steps = b"".join((b"\0" + bytes(3 * wide)) * high for wide, high in PASSES)
    strips = {f"strip {size}": Image.new("RGB", size) for size in ((1, 150), (150, 1), (1, 1))}
    return {
        "16 bits": encoded(Image.new("I;16", (40, 40), 0x8000), "PNG"),
        "profile": encoded(drawn(), "PNG", icc_profile=profile),
        "profile, JPEG": encoded(drawn(), "JPEG", icc_profile=profile),
        "interlaced": png(8, 8, steps, interlaced=1),
        "more behind its end": kinds()["png"] + b"PK\3\4" + bytes(999),
        "as many pixels as may be": png(6000, 6000, bytes(6000 * 18_001)),
        **{name: encoded(image, "PNG") for name, image in strips.items()},
        **{f"turned {number}": encoded(drawn(), "JPEG", exif=upright(number)) for number in range(1, 9)},
    }


# What is wrong, and the words that tell it.
WRONG = {
    **{f"giant {number}": (data, "decoded. Send a smaller one.") for number, data in enumerate(LARGE)},
    "strip": (encoded(Image.new("RGB", (3, 900)), "PNG"), "one side is more than 200 times the other"),
    "no row of many": (png(6000, 6000, b""), "the PNG is "),
    "cut off": (kinds()["png"][:90], "the PNG is cut off"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG, which is not read here"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40), "HEIC, which is not read here"),
    "avif": (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1" + bytes(40), "AVIF, which is not read here"),
    "tiff": (encoded(drawn(), "TIFF"), "TIFF, which is not read here"),
    "pdf": (b"%PDF-1.7\n" + bytes(20), "application/pdf, which is not read here"),
    "text": ("这不是图片".encode(), "these bytes are none of"),
    "nothing": (b"", "there are no bytes"),
}


# ── how each dialect shows a picture ──

Show = Callable[[httpx.Client, bytes], httpx.Response]


def chat(client: httpx.Client, data: bytes) -> httpx.Response:
    url = f"data:image/png;base64,{b64encode(data).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": ASK}]
    body = {"messages": [{"role": "user", "content": parts}], "max_tokens": 2}
    return client.post("/v1/chat/completions", json=body)


def messages(client: httpx.Client, data: bytes) -> httpx.Response:
    source = {"type": "base64", "media_type": "image/webp", "data": b64encode(data).decode()}
    parts = [{"type": "image", "source": source}, {"type": "text", "text": ASK}]
    body = {"model": "", "messages": [{"role": "user", "content": parts}], "max_tokens": 2}
    return client.post("/v1/messages", json=body)


def ollama(client: httpx.Client, data: bytes) -> httpx.Response:
    turn = {"role": "user", "content": ASK, "images": [b64encode(data).decode()]}
    return client.post("/api/chat", json={"messages": [turn], "stream": False, "options": {"num_predict": 2}})


def responses(client: httpx.Client, data: bytes) -> httpx.Response:
    url = f"data:;base64,{b64encode(data).decode()}"
    parts = [{"type": "input_image", "image_url": url}, {"type": "input_text", "text": ASK}]
    body: dict[str, Any] = {"input": [{"role": "user", "content": parts}], "max_output_tokens": 16}
    return client.post("/v1/responses", json=body)


def upload(client: httpx.Client, data: bytes) -> httpx.Response:
    return client.put("/api/attachments", content=data, headers={"Content-Type": "application/octet-stream"})


SHOWS: tuple[Show, ...] = (chat, messages, ollama, responses, upload)


def outcome(show: Show, client: httpx.Client, data: bytes) -> str:
    """What came of it, checked."""
    answer = show(client, data)
    assert answer.status_code in (200, 400), (show.__name__, answer.status_code, answer.text)
    if answer.status_code == 200:
        return "answered"
    error = answer.json()["error"]
    told = error if isinstance(error, str) else error["message"]
    assert told
    assert "\n" not in told
    if isinstance(error, dict):
        assert error.get("code", "invalid_media") in REFUSALS, error
    return "ended the child" if "process that reads pictures ended" in told else "refused"


def held(pid: int) -> int:
    """Bytes in memory of the server and all its children."""
    process = psutil.Process(pid)
    return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)])


def workers(pid: int) -> set[int]:
    """The server's own children: a worker that died has another number."""
    return {child.pid for child in psutil.Process(pid).children()}


def mutants(count: int, seed: int) -> Iterator[bytes]:
    dice, files = random.Random(seed), [*kinds().values(), *(data for data in odd().values() if 0 < len(data) < 4096)]
    for _ in range(count):
        yield mutated(dice.choice(files), dice)


def test_mutated_pictures_harm_nobody() -> None:
    good, turns = kinds()["png"], cycle(SHOWS)
    first, alone, together = list(mutants(10, 1)), list(mutants(MUTANTS // 2, 2)), list(mutants(MUTANTS // 2, 3))
    with (
        serve("--model", str(MODEL), "--projector", str(PROJECTOR)) as server,
        httpx.Client(base_url=server.ready(120), timeout=300) as client,
        ThreadPoolExecutor(AT_ONCE) as crowd,
    ):
        pid, port = server.process.pid, client.base_url.port
        assert port is not None
        for data in [good, *first]:  # whatever is loaded or made once is, then
            outcome(next(turns), client, data)
        before, began = held(pid), workers(pid)
        outcomes = Counter[str]()
        with probing(port) as probes:
            outcomes.update(outcome(next(turns), client, data) for data in alone)
            assert outcome(chat, client, good) == "answered"
            each = [(next(turns), data) for data in together]
            outcomes.update(crowd.map(lambda one: outcome(one[0], client, one[1]), each))
        assert outcome(chat, client, good) == "answered"
        after, restarts = held(pid), len(workers(pid) - began)
    print(f"{MUTANTS} mutated pictures: {dict(outcomes)}, {restarts} workers started again; {probes.row()}")
    print(f"memory before {before / (1 << 20):.0f} MB, after {after / (1 << 20):.0f} MB")
    assert probes.statuses == {200}
    assert not restarts, "a picture took a worker with it"
    assert after - before < GROWTH
    assert outcomes.keys() <= {"answered", "refused"}
    assert min(outcomes["answered"], outcomes["refused"]) > 0


@pytest.fixture(scope="module")
def seeing() -> Iterator[httpx.Client]:
    """A client of a server whose model sees."""
    with (
        serve("--model", str(MODEL), "--projector", str(PROJECTOR)) as server,
        httpx.Client(base_url=server.ready(120), timeout=300) as client,
    ):
        yield client


def test_what_is_rare_is_read(seeing: httpx.Client) -> None:
    for show, (name, data) in zip(cycle(SHOWS), odd().items()):
        assert show(seeing, data).status_code == 200, name


@pytest.mark.parametrize("show", SHOWS, ids=lambda show: show.__name__)
def test_what_is_wrong_has_a_name(seeing: httpx.Client, show: Show) -> None:
    for name, (data, why) in WRONG.items():
        answer = show(seeing, data)
        if show is upload and answer.status_code == 200:
            continue  # what is to be decoded is looked at when it is shown
        assert answer.status_code == 400, name
        assert why in answer.text, name
