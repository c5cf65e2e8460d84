"""Server-sent events: framing, and a sign of life while nothing happens."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec

KEEP_ALIVE_S = 10.0  # proxies and clients give up on a silent connection much later than this
MEDIA_TYPE = "text/event-stream; charset=utf-8"
HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}  # no proxy should hold a stream back
DONE = b"data: [DONE]\n\n"

T = TypeVar("T")


def data(value: Any) -> bytes:
    """`value` as one event, JSON on one line."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def named(value: dict[str, Any]) -> bytes:
    """`value` as one event, named by its own `type`."""
    return f"event: {value['type']}\n".encode() + data(value)


def event(name: str, value: Any, id: int = 0) -> bytes:
    """`value` as an event with a name, and a number to come back with; 0 is none."""
    number = f"id: {id}\n" if id else ""
    return f"event: {name}\n{number}".encode() + data(value)


def comment(text: str) -> bytes:
    """A line that every client skips and a curious one may read."""
    return f": {text}\n\n".encode()


async def with_pauses(events: AsyncGenerator[T, None], every: float = KEEP_ALIVE_S) -> AsyncGenerator[T | None, None]:
    """`events`, with a None wherever `every` seconds passed without one. Closes `events` at its own end."""
    async with aclosing(events):
        following: asyncio.Task[T] | None = None
        try:
            while True:
                following = following or asyncio.create_task(anext(events))
                done, _ = await asyncio.wait({following}, timeout=every)
                if not done:
                    yield None
                    continue
                finished, following = following, None
                try:
                    yield finished.result()
                except StopAsyncIteration:
                    return
        finally:
            if following is not None:
                following.cancel()
                await asyncio.wait({following})
