"""Server-sent events: framing, and a sign of life while nothing happens."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec
from fastapi.responses import StreamingResponse

KEEP_ALIVE_S = 10.0  # proxies and clients give up on a silent connection much later than this
HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}

T = TypeVar("T")


def data(value: Any) -> bytes:
    """`value` as one event, JSON on one line."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def comment(text: str) -> bytes:
    """A line that every client skips and a curious one may read."""
    return f": {text}\n\n".encode()


def response(chunks: AsyncIterator[bytes]) -> StreamingResponse:
    """`chunks` as an event stream that no proxy should hold back."""
    return StreamingResponse(chunks, media_type="text/event-stream; charset=utf-8", headers=HEADERS)


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
