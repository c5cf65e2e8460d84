"""A streamed response: silence is filled, nothing is lost, and whoever leaves ends the work."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from typing import Any

import pytest
from starlette.types import Message

from edgechat.api import streaming
from edgechat.api.streaming import Streamed


class Work:
    """Events that come when they are let, and what became of their making."""

    def __init__(self) -> None:
        self.may: asyncio.Queue[int | None] = asyncio.Queue()
        self.closed = asyncio.Event()

    async def events(self) -> AsyncGenerator[int, None]:
        try:
            while (event := await self.may.get()) is not None:
                yield event
        finally:
            self.closed.set()


class Client:
    """The other end; `slow` takes nothing until it is set to read on."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.over = False
        self.reads, self.left = asyncio.Event(), asyncio.Event()
        self.reads.set()

    async def send(self, message: Message) -> None:
        await self.reads.wait()
        assert not self.over
        if message["type"] == "http.response.body":
            self.got.append(message["body"])
            self.over = not message["more_body"]

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def gets(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.got) < count:
                await asyncio.sleep(0.001)


def said(event: int) -> Iterable[bytes]:
    yield b"%d" % event


def responding(work: Work, client: Client, **more: Any) -> "asyncio.Task[None]":
    response = Streamed(work.events(), said, [b"begin"], **more)
    return asyncio.create_task(response({"type": "http"}, client.receive, client.send))


async def test_silence_is_filled_and_no_event_is_lost() -> None:
    work, client = Work(), Client()
    task = responding(work, client, pause=lambda: [b"still here"], every=0.02)
    for number in range(3):
        await client.gets(len(client.got) + 3)
        work.may.put_nowait(number)
    work.may.put_nowait(None)
    await task
    assert [body for body in client.got if body != b"still here"] == [b"begin", b"0", b"1", b"2", b""]
    assert client.got.count(b"still here") >= 6


async def test_only_the_newest_comment_breaks_a_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "SILENCE_S", 0.2)
    work, client = Work(), Client()

    def told(event: int) -> Iterable[bytes]:
        yield b"%d" % event if event < 10 else b": %d\n\n" % event

    response = Streamed(work.events(), told, [b"begin"], [b": first\n\n"])
    task = asyncio.create_task(response({"type": "http"}, client.receive, client.send))
    for number in (1, 11, 12, 2, 13, 14):
        work.may.put_nowait(number)
    await client.gets(4)
    work.may.put_nowait(15)  # too soon after the one before
    work.may.put_nowait(None)
    await task
    assert client.got == [b"begin", b"1", b"2", b": 14\n\n", b""]


async def test_who_does_not_read_gets_no_signs_of_life() -> None:
    work, client = Work(), Client()
    task = responding(work, client, pause=lambda: [b"still here"], every=0.01)
    await client.gets(2)
    client.reads.clear()
    work.may.put_nowait(1)
    await asyncio.sleep(0.1)  # ten pauses would have been due
    count = len(client.got)
    client.reads.set()
    work.may.put_nowait(None)
    await task
    assert len([body for body in client.got[count:] if body == b"still here"]) <= 2


@pytest.mark.parametrize("place", ["before the first event", "waiting for an event", "sending"])
async def test_who_leaves_ends_the_work_at_once(place: str) -> None:
    work, client = Work(), Client()
    task = responding(work, client)
    if place != "before the first event":
        work.may.put_nowait(1)
        await client.gets(2)
    if place == "sending":
        client.reads.clear()
        work.may.put_nowait(2)
        await asyncio.sleep(0.01)
    client.left.set()
    await asyncio.wait_for(task, 1)
    assert work.closed.is_set()


async def test_a_cancelled_response_ends_the_work_too() -> None:
    work, client = Work(), Client()
    task = responding(work, client)
    work.may.put_nowait(1)
    await client.gets(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.closed.is_set()


async def test_a_bug_in_the_work_is_not_swallowed() -> None:
    async def broken() -> AsyncGenerator[int, None]:
        yield 1
        raise ZeroDivisionError

    client = Client()
    with pytest.raises(ZeroDivisionError):
        await Streamed(broken(), said)({"type": "http"}, client.receive, client.send)
