"""Several answers to one prompt: one request each, told together.

wanted ─┬─► answer 0 ─┐
        ├─► answer 1 ─┼─► (index, event) … ─► one stream, or one object
        └─► …        ─┘
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any, Protocol

import msgspec
from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from edgechat.api import sse
from edgechat.api.errors import Problem
from edgechat.api.reply import Part, Whole, accepted, progress_of, whole
from edgechat.api.requests import background_of, until_gone
from edgechat.errors import error_of
from edgechat.types import AnyEvent, Called, Delta, Done, Failed, GenRequest, Model, Reasoning

Indexed = tuple[int, AnyEvent]


class Replies(Protocol):
    """Several answers in the shapes of one dialect."""

    media_type: str

    def wholes(self, answers: Sequence[Whole]) -> dict[str, Any]:
        """The body of answers that are not streamed."""
        ...

    def begin(self, index: int = 0) -> Iterable[bytes]:
        """What an answer's stream begins with."""
        ...

    def aside(self, progress: str) -> Iterable[bytes]:
        """Progress, for those who can read it."""
        ...

    def part(self, event: Part, index: int = 0) -> Iterable[bytes]:
        """More of an answer."""
        ...

    def finish(self, index: int, done: Done) -> Iterable[bytes]:
        """What one answer ends with."""
        ...

    def ends(self, dones: Sequence[Done]) -> Iterable[bytes]:
        """What all of them end with."""
        ...

    def failed(self, problem: Problem) -> Iterable[bytes]:
        """What ends everything when one of them breaks."""
        ...


async def respond(
    request: Request, model: Model, wanted: Sequence[GenRequest], replies: Replies, stream: bool
) -> Response:
    """Answer all of `wanted`. Raises what refuses one of them."""
    later = background_of(request)
    answers = await _all_accepted(model, [msgspec.structs.replace(one, background=later) for one in wanted])
    if stream:
        return StreamingResponse(_streamed(replies, answers), media_type=replies.media_type, headers=sse.HEADERS)

    async def body() -> dict[str, Any]:
        async with AsyncExitStack() as closing:
            for answer in answers:
                await closing.enter_async_context(aclosing(answer))
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(whole(answer)) for answer in answers]
        return replies.wholes([task.result() for task in tasks])

    try:
        return await until_gone(request, body())
    except ExceptionGroup as several:
        raise several.exceptions[0] from None


def times(wanted: GenRequest, count: int) -> list[GenRequest]:
    """`wanted` so many times. With a seed, the answers differ, and are the same ones each time."""
    seed = wanted.sampling.seed
    if seed is None:
        return [wanted] * count
    samplings = [msgspec.structs.replace(wanted.sampling, seed=seed + index) for index in range(count)]
    return [msgspec.structs.replace(wanted, sampling=sampling) for sampling in samplings]


async def _all_accepted(model: Model, requests: Sequence[GenRequest]) -> list[AsyncGenerator[AnyEvent, None]]:
    answers: list[AsyncGenerator[AnyEvent, None]] = []
    try:
        for request in requests:
            answers += [await accepted(model, request)]
    except BaseException:
        for answer in answers:
            await answer.aclose()
        raise
    return answers


async def _streamed(replies: Replies, answers: Sequence[AsyncGenerator[AnyEvent, None]]) -> AsyncIterator[bytes]:
    for index in range(len(answers)):
        for piece in replies.begin(index):
            yield piece
    dones: dict[int, Done] = {}
    async with aclosing(sse.with_pauses(_merged(answers))) as paced:
        async for told in paced:
            index, event = told or (0, None)
            for piece in _said(replies, index, event):
                yield piece
            if isinstance(event, Failed):
                return
            if isinstance(event, Done):
                dones[index] = event
    for piece in replies.ends([dones[index] for index in sorted(dones)]):
        yield piece


def _said(replies: Replies, index: int, event: AnyEvent | None) -> Iterable[bytes]:
    match event:
        case Delta() | Reasoning() | Called():
            return replies.part(event, index)
        case Done():
            return replies.finish(index, event)
        case Failed():
            return replies.failed(Problem.of(error_of(event)))
        case _:
            progress = progress_of(event)
            return replies.aside(progress) if progress else ()


async def _merged(answers: Sequence[AsyncGenerator[AnyEvent, None]]) -> AsyncGenerator[Indexed, None]:
    """The events of all answers as they come."""
    events: asyncio.Queue[Indexed | None] = asyncio.Queue()

    async def follow(index: int, answer: AsyncGenerator[AnyEvent, None]) -> None:
        try:
            async with aclosing(answer):
                async for event in answer:
                    events.put_nowait((index, event))
        finally:
            events.put_nowait(None)

    tasks = [asyncio.create_task(follow(index, answer)) for index, answer in enumerate(answers)]
    try:
        open_ = len(tasks)
        while open_:
            told = await events.get()
            open_ -= told is None
            if told is not None:
                yield told
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
