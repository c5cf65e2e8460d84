"""Parallel sampling (`n`): several answers to one prompt, one request each, told together.

wanted ─┬─► answer 0 ─┐
        ├─► answer 1 ─┼─► (index, event) … ─► one stream, or one object
        └─► …        ─┘
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing
from functools import partial
from typing import Any, Protocol

import msgspec
from fastapi import Request
from fastapi.responses import Response

from edgechat.api.errors import Problem
from edgechat.api.reply import Accepted, Part, Progress, Whole, accepted, whole
from edgechat.api.requests import until_gone
from edgechat.api.streaming import Streamed
from edgechat.errors import error_of
from edgechat.types import (
    AnyEvent,
    Called,
    Delta,
    Done,
    Failed,
    GenRequest,
    Loading,
    Media,
    Model,
    Prefill,
    Queued,
    Reasoning,
)

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

    def aside(self, event: Progress | None) -> Iterable[bytes]:
        """Progress, for those who can read it."""
        ...

    def part(self, event: Part, index: int = 0) -> Iterable[bytes]:
        """More of an answer."""
        ...

    def finish(self, index: int, done: Done, all_: Sequence[Done] = ()) -> Iterable[bytes]:
        """What one answer ends with; where it is the last, `all_` of them."""
        ...

    def failed(self, problem: Problem) -> Iterable[bytes]:
        """What ends everything when one of them breaks."""
        ...


async def respond(
    request: Request, model: Model, wanted: Sequence[GenRequest], replies: Replies, stream: bool
) -> Response:
    """Answer all of `wanted`. Raises what refuses one of them."""
    answers = await _all_accepted(request, model, wanted)
    if stream:
        events = _merged(answers)
        said = _Said(replies, len(answers))
        first, pause = said(await anext(events)), partial(replies.aside, None)
        return Streamed(events, said, said.begin(), first, pause, media_type=replies.media_type)

    async def body() -> dict[str, Any]:
        async with AsyncExitStack() as closing:
            for answer in answers:
                await closing.enter_async_context(aclosing(answer.rest))
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


async def _all_accepted(request: Request, model: Model, wanted: Sequence[GenRequest]) -> list[Accepted]:
    answers: list[Accepted] = []
    try:
        for one in wanted:
            answers += [await accepted(request, model, one)]
    except BaseException:
        for answer in answers:
            await answer.rest.aclose()
        raise
    return answers


class _Said:
    """Several answers in the words of `replies`; what ends all of them comes with the last one's end."""

    def __init__(self, replies: Replies, count: int) -> None:
        self._replies = replies
        self._count = count
        self._dones: dict[int, Done] = {}

    def begin(self) -> Iterator[bytes]:
        for index in range(self._count):
            yield from self._replies.begin(index)

    def __call__(self, told: Indexed) -> Iterator[bytes]:
        index, event = told
        match event:
            case Delta() | Reasoning() | Called():
                yield from self._replies.part(event, index)
            case Done():
                self._dones[index] = event
                over = len(self._dones) == self._count
                all_ = [self._dones[index] for index in range(self._count)] if over else ()
                yield from self._replies.finish(index, event, all_)
            case Failed():
                yield from self._replies.failed(Problem.of(error_of(event)))
            case Queued() | Media() | Prefill() | Loading():
                yield from self._replies.aside(event)


async def _merged(answers: Sequence[Accepted]) -> AsyncGenerator[Indexed, None]:
    """The events of all answers as they come, to the last one's end or the first failure."""
    events: asyncio.Queue[Indexed | None] = asyncio.Queue()

    async def follow(index: int, answer: Accepted) -> None:
        try:
            events.put_nowait((index, answer.first))
            async for event in answer.rest:
                events.put_nowait((index, event))
        finally:
            events.put_nowait(None)

    tasks = [asyncio.create_task(follow(index, answer)) for index, answer in enumerate(answers)]
    try:
        open_ = len(tasks)
        while open_:
            told = await events.get()
            if told is None:
                open_ -= 1
                continue
            yield told
            if isinstance(told[1], Failed):
                return
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for answer in answers:
            await answer.rest.aclose()
