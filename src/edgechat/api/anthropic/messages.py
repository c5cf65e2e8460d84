"""Anthropic's Messages API: POST /v1/messages, POST /v1/messages/count_tokens.

A stream is a list of blocks, one open at a time:

    message_start ─► ( content_block_start ─► content_block_delta … ─► content_block_stop ) … ─► message_delta
                                                                                             ─► message_stop
"""

import secrets
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from fastapi import Request
from fastapi.responses import Response

from edgechat.api import sse
from edgechat.api.anthropic.errors import ANTHROPIC, WORDS, error_object
from edgechat.api.anthropic.wire import MessagesRequest, Prompt
from edgechat.api.errors import Problem
from edgechat.api.examples import CITY, SERVED, TURNS, WEATHER, Example
from edgechat.api.ignored import beginning, ignored_by
from edgechat.api.reply import Part, Progress, Whole, comments_of, respond, truth
from edgechat.api.requests import TheCaller, TheRuntime
from edgechat.api.routes import ANY, MAX_SHOWN, Asks, Facts, Need, Router
from edgechat.api.tools import arguments_of
from edgechat.types import Called, Delta, Done, Prefill, Read, Reasoning, Served, ToolCall, Usage

router = Router("/v1/messages", ANTHROPIC)

ANSWERED = Example(
    {"max_tokens": 100, "messages": TURNS},
    lambda: MessageReply(SERVED),
    {"tools": {"max_tokens": 100, "messages": TURNS, "tools": [{**WEATHER, "input_schema": CITY}]}},
)
COUNTED = Example({"messages": TURNS}, lambda: {"input_tokens": 26})

UNCOUNTED = Prefill(0, 0)  # before an answer of which no prefill was told

STOP_REASONS = {
    "eos": "end_turn",
    "stop": "stop_sequence",
    "length": "max_tokens",
    "loop": "max_tokens",
    "tool_calls": "tool_use",
}


@router.post(
    "",
    Facts(Need.KEY, Asks.NOW, max_body=MAX_SHOWN, words=WORDS, example=ANSWERED, kinds=ANY),
    "Answer a conversation in Anthropic's shapes, whole or streamed",
)
async def messages(body: MessagesRequest, request: Request, runtime: TheRuntime, caller: TheCaller) -> Response:
    model = runtime.find(body.model, caller)
    wanted = body.generation(model.served.sampling)
    reply = MessageReply(model.served, ignored_by(body, request, model.served.info))
    return await respond(request, model, wanted, reply, bool(body.stream))


@router.post(
    "/count_tokens",
    Facts(Need.KEY, max_body=MAX_SHOWN, words=WORDS, example=COUNTED, kinds=ANY),
    "How many tokens the model would read",
)
async def count_tokens(body: Prompt, request: Request, runtime: TheRuntime, caller: TheCaller) -> dict[str, Any]:
    model = runtime.find(body.model, caller)
    ignored = ignored_by(body, request, model.served.info)
    told = await model.ask(Read(msgspec.structs.replace(body.asked(), truncation="disabled")))
    return {"input_tokens": len(told.tokens), **beginning(ignored)}


class MessageReply:
    """`Reply` of reply.py in Anthropic's message objects and events."""

    media_type = sse.MEDIA_TYPE

    def __init__(self, served: Served, ignored: tuple[str, ...] = ()) -> None:
        """`ignored`: as in ignored.py."""
        self._served = served
        self._ignored = ignored
        self._head = {"id": f"msg_{secrets.token_hex(12)}", "type": "message", "role": "assistant"}
        self._has_started = False  # `message_start` was said
        self._blocks = 0  # begun so far
        self._open: object = None  # what the block that is being written is made of

    def whole(self, answer: Whole) -> dict[str, Any]:
        content: list[dict[str, Any]] = []
        if answer.reasoning:
            content.append({"type": "thinking", "thinking": answer.reasoning, "signature": ""})
        if answer.text or not answer.calls:
            content.append({"type": "text", "text": answer.text})
        content += [tool_use(call) for call in answer.calls]
        return self._message(content) | ending(answer.done) | self._counted(answer.done)

    def _message(self, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self._head, "model": self._served.name, "content": content}

    def _counted(self, done: Done) -> dict[str, Any]:
        return {"usage": usage_of(done.usage), "edgechat": truth(self._served, self._ignored, done)}

    def begin(self) -> Iterable[bytes]:
        """Nothing yet: `message_start` has the prompt's counts, and clients plan by them."""
        return ()

    def _started(self, read: Prefill) -> Iterator[bytes]:
        """`message_start`, where it was not said before."""
        if self._has_started:
            return
        self._has_started = True
        usage = usage_of(Usage(read.total, 0, read.cached))
        message = (
            self._message([]) | {"stop_reason": None, "stop_sequence": None, "usage": usage} | beginning(self._ignored)
        )
        yield sse.named({"type": "message_start", "message": message})
        yield sse.PING

    def aside(self, event: Progress | None) -> Iterable[bytes]:
        """Its clients count a connection as alive by pings, not by comments."""
        if isinstance(event, Prefill) and not self._has_started:
            yield from self._started(event)
            return
        yield from comments_of(event)
        if self._has_started:
            yield sse.PING

    def part(self, event: Part) -> Iterable[bytes]:
        yield from self._started(UNCOUNTED)
        match event:
            case Delta(text=text):
                yield from self._block("text", {"type": "text", "text": ""})
                yield self._delta({"type": "text_delta", "text": text})
            case Reasoning(text=text):
                yield from self._block("thinking", {"type": "thinking", "thinking": "", "signature": ""})
                yield self._delta({"type": "thinking_delta", "thinking": text})
            case Called(index=index, arguments=arguments):
                yield from self._block(index, tool_use(ToolCall(event.id, event.name, "")))
                yield self._delta({"type": "input_json_delta", "partial_json": arguments})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return sse.named({"type": "content_block_delta", "index": self._blocks - 1, "delta": delta})

    def _block(self, made_of: object, empty: dict[str, Any]) -> Iterator[bytes]:
        """Close the open block and begin another, unless it is made of the same."""
        if made_of == self._open:
            return
        yield from self._close()
        yield sse.named({"type": "content_block_start", "index": self._blocks, "content_block": empty})
        self._open = made_of
        self._blocks += 1

    def _close(self) -> Iterator[bytes]:
        if self._open is not None:
            yield sse.named({"type": "content_block_stop", "index": self._blocks - 1})
        self._open = None

    def end(self, done: Done) -> Iterable[bytes]:
        yield from self._started(Prefill(0, done.usage.prompt_tokens, done.usage.cached_tokens))
        if not self._blocks:
            yield from self._block("text", {"type": "text", "text": ""})
        yield from self._close()
        yield sse.named({"type": "message_delta", "delta": ending(done), **self._counted(done)})
        yield sse.named({"type": "message_stop"})

    def failed(self, problem: Problem) -> Iterable[bytes]:
        yield sse.named(error_object(problem))


def tool_use(call: ToolCall) -> dict[str, Any]:
    """Anthropic's block for a call."""
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": arguments_of(call)}


def ending(done: Done) -> dict[str, Any]:
    """Why the answer ended."""
    return {"stop_reason": STOP_REASONS[done.stop_reason], "stop_sequence": done.stop}


def usage_of(usage: Usage) -> dict[str, Any]:
    """Anthropic's usage object: `input_tokens` are those of the prompt that had to be read."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    }
