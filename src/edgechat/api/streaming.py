"""A streamed response: bytes as they come, a sign of life while there are none, and an end when nobody reads.

    events ─► said ─► send                             the job
      └► a comment ─► kept                             the newest one
    nothing was sent for a second ─► the comment       whoever waits for the job
    nothing was sent for long     ─► pause
    the client left ─► the job is cancelled, and with it the answer in the worker

Nothing is made per event but its bytes.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing
from math import inf
from typing import Any, Protocol, TypeVar

from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from edgechat.api import sse
from edgechat.api.requests import beside

SILENCE_S = 1.0  # before a comment is worth its line: some clients read every line as JSON
KEEP_ALIVE_S = 10.0  # proxies and clients give up on a silent connection much later than this

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Events(Protocol[T_co]):
    """What happens, one after the other. Closing it ends what makes them happen."""

    def __aiter__(self) -> AsyncIterator[T_co]: ...

    async def aclose(self) -> None: ...


class Streamed(Response):
    """`begin`, then the bytes that `said` makes of each event, `first` what it made of one that is over.

    `pause` comes wherever `every` seconds passed without any.
    """

    def __init__(
        self,
        events: Events[T],
        said: Callable[[T], Iterable[bytes]],
        begin: Iterable[bytes] = (),
        first: Iterable[bytes] = (),
        pause: Callable[[], Iterable[bytes]] = tuple,
        every: float = KEEP_ALIVE_S,
        media_type: str = sse.MEDIA_TYPE,
    ) -> None:
        self.status_code = 200
        self.media_type = media_type
        self.background = None
        self.init_headers(sse.HEADERS)
        self._events: Events[Any] = events
        self._said: Callable[[Any], Iterable[bytes]] = said
        self._begin, self._first, self._pause, self._every = b"".join(begin), b"".join(first), pause, every

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope  # the same for everyone who asks
        clock = asyncio.get_running_loop().time
        aside = b""  # a comment that was not sent yet
        last = inf  # when a send ended; while one goes on, it is the client who lets the others wait

        async def write(body: bytes, more: bool = True) -> None:
            nonlocal last, aside
            last, aside = inf, b""
            await send({"type": "http.response.body", "body": body, "more_body": more})
            last = clock()

        async def tell(body: bytes) -> None:
            nonlocal aside
            if sse.is_aside(body):
                aside = body or aside
            else:
                await write(body)

        async def job() -> None:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await write(self._begin)
            await tell(self._first)
            async for event in self._events:
                await tell(b"".join(self._said(event)))
            await write(b"", more=False)

        async with aclosing(self._events), beside(receive, job()) as (told, gone):
            look = min(SILENCE_S, self._every)
            while not (await asyncio.wait({told, gone}, timeout=look, return_when=asyncio.FIRST_COMPLETED))[0]:
                silent = clock() - last
                if aside and silent >= look:
                    await write(aside)
                elif silent >= self._every and (pause := b"".join(self._pause())):
                    await write(pause)
            if told.done():
                told.result()
