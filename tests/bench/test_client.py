import asyncio
from collections.abc import AsyncIterator

import pytest

from edgechat.bench import client as bench_client
from edgechat.bench.client import Answer, Client, Reading, Unmeasured, address, why
from edgechat.errors import ConfigError
from edgechat.types import Message
from tests.bench.conftest import Serve
from tests.bench.scripted import Script

HELLO = [Message.of("user", "Hello")]


async def ask(url: str, most: int = 8, model: str | None = None, key: str | None = None) -> Reading:
    async with Client(address("A", url, model), key) as client:
        return await client.ask(HELLO, most, "someone")


# ── addresses ──


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("http://localhost:8080/v1", "http://localhost:8080"),
        ("http://127.9.9.9:1/some/where/v1/", "http://127.9.9.9:1/some/where"),
        ("http://[::1]:8080/v1", "http://[::1]:8080"),
        ("http://localhost", "http://localhost:80"),
    ],
)
def test_base_addresses_with_and_without_their_end(url: str, base: str) -> None:
    assert address("A", url).url == base


@pytest.mark.parametrize(
    "url",
    [
        "http://192.168.0.7:8080",
        "http://example.org",
        "http://localhost.example.org",
        "http://127.0.0.1.example.org",
        "http://0.0.0.0:8080",
        "http://[::]:8080",
        "http://2130706433:8080",
        "http://127.0.0.1@example.org",
        "http://example.org@127.0.0.1",
        "http://127.0.0.1:8080/v1?x=1",
        "http://127.0.0.1:8080/#x",
        "http://127.0.0.1:8080/\\example.org",
        "http://127.0.0.1:99999",
        "https://127.0.0.1:8080",
        "file:///etc/passwd",
        "127.0.0.1:8080",
        "",
    ],
)
def test_nothing_but_this_machine_is_driven(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        address("A", url)
    assert "\n" not in str(refused.value)


# ── one request ──


async def test_a_whole_answer(serve: Serve) -> None:
    script = Script()
    reading = (await ask(serve(script), model="some-model")).checked()
    assert reading.text == "1\n2\n3\n4\n5\n6\n7\n8\n"
    assert (reading.tokens, len(reading.times), reading.model) == (8, 8, "some-model")
    assert reading.sent < reading.times[0] <= reading.times[-1] <= reading.over
    assert reading.took_s >= reading.first_s >= script.token_s
    assert script.bodies == [
        {
            "messages": [{"role": "user", "content": "Hello"}],
            "max_tokens": 8,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            "user": "someone",
            "model": "some-model",
        }
    ]


async def test_a_model_that_is_not_named_is_not_sent(serve: Serve) -> None:
    script = Script(usage=False)
    reading = (await ask(serve(script))).checked()
    assert "model" not in script.bodies[0]
    assert (reading.tokens, reading.prompt_tokens) == (8, None)


async def test_the_key_is_sent_and_no_proxy_sees_it(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    url = serve(Script(key="sesame"))
    assert (await ask(url, key="sesame")).error is None
    refused = await ask(url)
    assert refused.error == "HTTP 401: no such key [31m"  # a complaint cannot colour the terminal
    with pytest.raises(Unmeasured, match="HTTP 401"):
        refused.checked()


async def test_an_answer_that_breaks_keeps_what_came(serve: Serve) -> None:
    url = serve(Script(cut=frozenset({0}), fail=frozenset({1}), refuse={2: 503}))
    cut, failed, refused = [await ask(url) for _ in range(3)]
    assert (cut.text, cut.ended, cut.error) == ("1\n2\n3\n", False, None)
    assert (failed.text, failed.ended) == ("1\n2\n3\n", False)
    assert failed.error == "failed after the first byte: the engine ended"
    assert refused.error == "HTTP 503: come back later"
    with pytest.raises(Unmeasured, match="without finish_reason"):
        cut.checked()


async def test_nobody_there() -> None:
    reading = await ask("http://127.0.0.1:9")
    assert reading.error
    assert reading.error.startswith("no whole answer: ")


async def test_a_request_takes_no_longer_than_it_may(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_client, "REQUEST_S", 0.3)
    reading = await ask(serve(Script(token_s=60)))
    assert reading.error == "no end within 0 s"
    assert not reading.times


async def test_an_answer_is_no_larger_than_it_may_be(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_client, "MOST_BYTES", 200)
    reading = await ask(serve(Script(token_s=0)), most=1000)
    assert reading.error
    assert reading.error.startswith("the answer is larger")


async def test_an_answer_that_is_given_up_is_over(serve: Serve) -> None:
    answer = Answer()
    async with Client(address("A", serve(Script(token_s=0.01)))) as client:
        task = asyncio.create_task(client.ask(HELLO, 1000, answer=answer))
        while not answer.times:
            await answer.changed.wait()
        task.cancel()
        await asyncio.wait({task})
    assert answer.over is not None
    assert 0 < len(answer.times) < 1000


# ── the wire ──


async def test_events_are_found_however_they_are_cut() -> None:
    wire = b': hi\n\ndata: {"a":1}\r\n\r\nevent: x\ndata:{"b":2}\n\ndata: [DONE]\n\n'

    async def pieces(size: int) -> AsyncIterator[bytes]:
        for start in range(0, len(wire), size):
            yield wire[start : start + size]

    for size in (1, 2, 7, len(wire)):
        found = [payload async for payload in bench_client._payloads(pieces(size))]
        assert found == [b'{"a":1}', b'{"b":2}', b"[DONE]"]


@pytest.mark.parametrize(
    "payload", [b"nonsense", b"[]", b'{"choices": 3}', b'{"choices":[{"delta":{"content":1}}]}', b"\xff"]
)
def test_what_is_no_chunk_is_an_error(payload: bytes) -> None:
    with pytest.raises(Unmeasured, match=r"not a chat\.completion\.chunk"):
        Answer().take(payload)


def test_thoughts_are_tokens_too() -> None:
    answer = Answer()
    answer.take(b'{"choices":[{"delta":{"reasoning_content":"hm"}}]}')
    assert answer.reading.text == "hm"


@pytest.mark.parametrize(
    ("times", "tokens", "speed"),
    [
        ((1.0, 2.0, 3.0), 3, 1.0),
        ((1.0, 2.0, 3.0), None, 1.0),
        ((1.0, 2.0, 3.0), 6, 2.0),  # two tokens a piece
        ((1.0,), 1, None),
        ((1.0, 1.0), 2, None),
        ((), 0, None),
    ],
)
def test_decode_is_read_from_the_pace_after_the_first(
    times: tuple[float, ...], tokens: int | None, speed: float | None
) -> None:
    reading = Reading(sent=0, over=9, times=times, text="x", ended=True, completion_tokens=tokens)
    assert reading.decode == speed


def test_a_complaint_is_one_short_line() -> None:
    assert why({"message": "a\nb\x00\x1b[1mc"}) == "a b [1mc"
    assert why({"detail": "x"}) == "{'detail': 'x'}"
    assert len(why("x" * 1000)) == bench_client.MOST_WHY
