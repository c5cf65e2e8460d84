"""Response rendering, what the dialects share on the way back: events of one answer in, a whole object or a stream out.

    model ─► accepted ─► events ─┬─► whole ──► Reply.whole(Whole)                ─► one JSON object
               │                 └─► said ───► Reply.begin, part …, end | failed ─► lines or events (streaming.py)
               └─ refused: an exception, before the first byte

A dialect is a `Reply`: it turns each of these into bytes of its own, and knows nothing of queues or departed clients.
"""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, NamedTuple, Protocol

import msgspec
from fastapi import Request
from fastapi.responses import Response

from edgechat.api import sse
from edgechat.api.errors import Problem
from edgechat.api.requests import background_of, until_gone
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
    Scored,
    Served,
    ToolCall,
)

Part = Delta | Reasoning | Called  # what answers are made of
Progress = Queued | Media | Prefill | Loading
STILL_HERE = "still here"  # what is told where nothing happens for a while
VERSION = 1  # of the `edgechat` object: a new field leaves it as it is, a change of one does not


class Whole(NamedTuple):
    """A finished answer."""

    text: str
    done: Done
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[Scored, ...] = ()


class Reply(Protocol):
    """One answer in the shapes of one dialect."""

    media_type: str

    def whole(self, answer: Whole) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        ...

    def begin(self) -> Iterable[bytes]:
        """What a stream begins with."""
        ...

    def aside(self, event: Progress | None) -> Iterable[bytes]:
        """Progress, for those who can read it, or a sign of life: nothing that ends up in the answer."""
        ...

    def part(self, event: Part) -> Iterable[bytes]:
        """More of the answer."""
        ...

    def end(self, done: Done) -> Iterable[bytes]:
        """What a complete answer ends with."""
        ...

    def failed(self, problem: Problem) -> Iterable[bytes]:
        """What a broken one ends with: an error, and nothing that looks like an end."""
        ...


class Accepted(NamedTuple):
    """An answer whose prompt was accepted: its first event, and those that follow."""

    first: AnyEvent
    rest: AsyncGenerator[AnyEvent, None]


async def respond(request: Request, model: Model, wanted: GenRequest, reply: Reply, stream: bool) -> Response:
    """Answer `wanted` by `reply`. Raises what refuses it."""
    return await told(request, await accepted(request, model, wanted), reply, stream)


async def accepted(request: Request, model: Model, wanted: GenRequest) -> Accepted:
    """Ask `wanted`, behind those that somebody waits for if `request` wishes it.

    Raises what refuses it: before the first byte.
    """
    events = model.stream(msgspec.structs.replace(wanted, background=background_of(request)))
    first = await anext(events)
    if isinstance(first, Failed):
        await events.aclose()
        raise error_of(first)
    return Accepted(first, events)


async def told(request: Request, answer: Accepted, reply: Reply, stream: bool) -> Response:
    """The answer as `reply` says it."""
    if stream:
        begin, first, pause = reply.begin(), said(reply, answer.first), partial(reply.aside, None)
        return Streamed(answer.rest, partial(said, reply), begin, first, pause, media_type=reply.media_type)

    async def body() -> dict[str, Any]:
        return reply.whole(await whole(answer))

    return await until_gone(request, body())


async def whole(answer: Accepted) -> Whole:
    """The finished answer. Raises what ended it before its end."""
    parts: list[Part] = []
    event = answer.first
    async with aclosing(answer.rest) as rest:
        while not isinstance(event, Done):
            if isinstance(event, Failed):
                raise error_of(event)
            if isinstance(event, Part):
                parts.append(event)
            event = await anext(rest)
    return put_together(parts, event)


def put_together(parts: Sequence[Part], done: Done) -> Whole:
    """The answer that `parts` make up."""
    said = [part for part in parts if isinstance(part, Delta)]
    calls: dict[int, ToolCall] = {}
    for part in parts:
        if isinstance(part, Called):
            before = calls[part.index].arguments if part.index in calls else ""
            calls[part.index] = ToolCall(part.id, part.name, before + part.arguments)
    return Whole(
        text="".join(part.text for part in said),
        done=done,
        reasoning="".join(part.text for part in parts if isinstance(part, Reasoning)),
        calls=tuple(calls.values()),
        logprobs=tuple(scored for part in said for scored in part.logprobs),
    )


def said(reply: Reply, event: AnyEvent) -> Iterable[bytes]:
    """An event in the words of `reply`."""
    match event:
        case Delta() | Reasoning() | Called():
            return reply.part(event)
        case Done():
            return reply.end(event)
        case Failed():
            return reply.failed(Problem.of(error_of(event)))
        case Queued() | Media() | Prefill() | Loading():
            return reply.aside(event)
    return ()


def comments_of(event: Progress | None) -> Iterable[bytes]:
    """Progress as a comment of an event stream; None is a sign of life."""
    progress = progress_of(event) if event else STILL_HERE
    return (sse.comment(progress),) if progress else ()


def progress_of(event: AnyEvent) -> str | None:
    """What a waiting reader may be told, if anything."""
    match event:
        case Queued(position=position, waiting=waiting, eta_s=eta) if position:
            return f"queued {position} of {waiting}" + ("" if eta is None else f", about {eta:.0f} s")
        case Media(stage=stage, done=done, total=total):
            return f"{stage} {done} of {total}"
        case Prefill(done=read, total=total):
            return f"prefill {read} of {total}"
        case Loading(stage=stage, fraction=fraction):
            return f"loading {stage}" + ("" if fraction is None else f" {fraction:.0%}")
    return None


def truth(served: Served, ignored: Sequence[str], done: Done, *others: Done) -> dict[str, Any]:
    """The `edgechat` object: what was really done for an answer. Of several, each one's end is told too.

    `ignored`: the members of the request that had no effect; what calls were not held to in tools' schemas joins them.
    """
    several = [{"stop_reason": one.stop_reason, "guards": list(one.guards)} for one in (done, *others)]
    return {
        "version": VERSION,
        "model_sha256": served.sha256,
        "recipe": served.recipe,
        "queue_ms": done.timing.queue_ms,
        "prefill_ms": done.timing.prefill_ms,
        "decode_tok_s": done.timing.decode_tok_s,
        "cached_tokens": done.usage.cached_tokens,
        "dropped_messages": done.dropped_messages,
        "stop_reason": done.stop_reason,
        "guards": list(done.guards),
        "fallback": None,
        "ignored": [*ignored, *(place for place in done.unheld if place not in ignored)],
        **({"media": [msgspec.to_builtins(one) for one in done.media]} if done.media else {}),
        **({"choices": several} if others else {}),
    }
