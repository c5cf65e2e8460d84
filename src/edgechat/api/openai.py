"""OpenAI's chat API: POST /v1/chat/completions, GET /v1/models."""

import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from edgechat.api import sse
from edgechat.api.errors import body_of
from edgechat.api.requests import StrictRoute, background_of, client_of, runtime_of, until_gone
from edgechat.api.wire import ChatRequest
from edgechat.errors import EdgechatError, InvalidRequest, from_code
from edgechat.runtime import Runtime, Served
from edgechat.types import AnyEvent, Delta, Done, Failed, GenRequest, Loading, Prefill, Queued

router = APIRouter(prefix="/v1", route_class=StrictRoute)
TheRuntime = Annotated[Runtime, Depends(runtime_of)]


@router.get("/models", summary="The models that answer here; the first one is the default")
async def models(runtime: TheRuntime) -> dict[str, Any]:
    served = runtime.served
    return {"object": "list", "data": [model_object(served)] if served else []}


@router.get("/models/{id:path}", summary="One model")
async def model(id: str, runtime: TheRuntime) -> dict[str, Any]:
    return model_object(runtime.find(id))


@router.post("/chat/completions", summary="Answer a conversation, whole or streamed")
async def chat_completions(body: ChatRequest, request: Request, runtime: TheRuntime) -> Response:
    served = runtime.find(body.model)
    wanted = body.generation(served.sampling, client_of(request), background_of(request))
    _check_bias(wanted, served)
    if body.stream_options is not None and not body.stream:
        raise InvalidRequest("stream_options go with stream: true.", "stream_options")
    reply = Reply(served)
    events = await accepted(runtime, wanted)
    if body.stream:
        usage = body.stream_options is not None and body.stream_options.include_usage
        return sse.response(reply.stream(events, usage))
    return await until_gone(request, reply.whole(events))


async def accepted(runtime: Runtime, wanted: GenRequest) -> AsyncGenerator[AnyEvent, None]:
    """The events of an answer whose prompt was accepted. Raises what refuses it: before the first byte."""
    events = runtime.stream(wanted)
    first = await anext(events)
    if isinstance(first, Failed):
        await events.aclose()
        raise error_of(first)
    return _resumed(first, events)


async def _resumed(first: AnyEvent, rest: AsyncGenerator[AnyEvent, None]) -> AsyncGenerator[AnyEvent, None]:
    async with aclosing(rest):
        yield first
        async for event in rest:
            yield event


def _check_bias(wanted: GenRequest, served: Served) -> None:
    outside = [token for token in wanted.sampling.logit_bias if not 0 <= token < served.info.vocabulary]
    if outside:
        limit = served.info.vocabulary - 1
        raise InvalidRequest(f"logit_bias names token {outside[0]}; the model's go from 0 to {limit}.", "logit_bias")


def model_object(served: Served) -> dict[str, Any]:
    """OpenAI's model object, with what a client may want to know besides."""
    return {
        "id": served.name,
        "object": "model",
        "created": served.since,
        "owned_by": "edgechat",
        "context_window": served.info.context,
    }


class Reply:
    """Turns the events of one answer into OpenAI's shapes."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._head = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": served.name}

    async def whole(self, events: AsyncGenerator[AnyEvent, None]) -> dict[str, Any]:
        """The `chat.completion` object. Raises what ended the answer before its end."""
        text: list[str] = []
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Delta):
                    text.append(event.text)
                elif isinstance(event, Failed):
                    raise error_of(event)
                elif isinstance(event, Done):
                    return self._completion("".join(text), event)
        raise AssertionError("an answer ends with Done or Failed")

    def _completion(self, text: str, done: Done) -> dict[str, Any]:
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": done.finish_reason}
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [choice],
            "usage": usage_of(done),
            "edgechat": self._truth(done),
        }

    async def stream(self, events: AsyncGenerator[AnyEvent, None], with_usage: bool) -> AsyncIterator[bytes]:
        """`chat.completion.chunk` events. A failure is an error event and the end, without [DONE]."""
        yield self._chunk({"role": "assistant", "content": ""}, usage=with_usage)
        async with aclosing(sse.with_pauses(events)) as paced:
            async for event in paced:
                match event:
                    case None:
                        yield sse.comment("still here")
                    case Queued(position=position) if position:
                        yield sse.comment(queued(event))
                    case Prefill(done=read, total=total):
                        yield sse.comment(f"prefill {read} of {total}")
                    case Loading(stage=stage):
                        yield sse.comment(f"loading {stage}")
                    case Delta(text=text):
                        yield self._chunk({"content": text}, usage=with_usage)
                    case Failed():
                        yield sse.data(body_of(error_of(event)))
                    case Done():
                        for chunk in self._end(event, with_usage):
                            yield chunk

    def _end(self, done: Done, with_usage: bool) -> list[bytes]:
        """The last chunks. The very last one carries the `edgechat` object."""
        truth = self._truth(done)
        if not with_usage:
            return [self._chunk({}, done.finish_reason, edgechat=truth), b"data: [DONE]\n\n"]
        total = {**self._head, "object": "chat.completion.chunk", "choices": [], "usage": usage_of(done)}
        last = sse.data({**total, "edgechat": truth})
        return [self._chunk({}, done.finish_reason, usage=True), last, b"data: [DONE]\n\n"]

    def _chunk(self, delta: dict[str, str], finish: str | None = None, usage: bool = False, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunk = {**self._head, "object": "chat.completion.chunk", "choices": [choice], **more}
        return sse.data({**chunk, "usage": None} if usage else chunk)

    def _truth(self, done: Done) -> dict[str, Any]:
        """What was really done for this answer."""
        return {
            "model_sha256": self._served.sha256,
            "recipe": self._served.recipe,
            "queue_ms": done.timing.queue_ms,
            "prefill_ms": done.timing.prefill_ms,
            "decode_tok_s": done.timing.decode_tok_s,
            "cached_tokens": done.usage.cached_tokens,
            "dropped_messages": 0,
            "stop_reason": done.stop_reason,
            "fallback": None,
        }


def error_of(event: Failed) -> EdgechatError:
    """What ended an answer, as an exception."""
    return from_code(event.code, event.message, event.param, event.retry_after_s)


def queued(event: Queued) -> str:
    """Place and estimate, for a comment."""
    about = "" if event.eta_s is None else f", about {event.eta_s:.0f} s"
    return f"queued {event.position} of {event.waiting}{about}"


def usage_of(done: Done) -> dict[str, Any]:
    """OpenAI's usage object."""
    return {
        "prompt_tokens": done.usage.prompt_tokens,
        "completion_tokens": done.usage.completion_tokens,
        "total_tokens": done.usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": done.usage.cached_tokens},
    }
