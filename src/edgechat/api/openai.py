"""OpenAI's chat API: POST /v1/chat/completions, GET /v1/models."""

import secrets
import time
from collections.abc import Iterable
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response

from edgechat.api import errors, sse
from edgechat.api.errors import Problem
from edgechat.api.reply import Part, Whole, respond, truth
from edgechat.api.requests import StrictRoute, TheRuntime, background_of, check_vocabulary, client_of
from edgechat.api.wire import ChatRequest
from edgechat.errors import InvalidRequest
from edgechat.runtime import Served
from edgechat.types import Called, Delta, Done, Reasoning, ToolCall

router = APIRouter(prefix="/v1", route_class=StrictRoute)


@router.get("/models", summary="The models that can be asked for; the first one is the default")
async def models(runtime: TheRuntime) -> dict[str, Any]:
    return {"object": "list", "data": [model_object(served) for served in runtime.models()]}


@router.get("/models/{id:path}", summary="One model")
async def model(id: str, runtime: TheRuntime) -> dict[str, Any]:
    return model_object(msgspec.structs.replace(runtime.find(id), name=id))


@router.post("/chat/completions", summary="Answer a conversation, whole or streamed")
async def chat_completions(body: ChatRequest, request: Request, runtime: TheRuntime) -> Response:
    served = runtime.find(body.model)
    wanted = body.generation(served.sampling, client_of(request), background_of(request))
    check_vocabulary(served, wanted.sampling.logit_bias, "logit_bias")
    if body.stream_options is not None and not body.stream:
        raise InvalidRequest("stream_options go with stream: true.", "stream_options")
    usage = body.stream_options is not None and body.stream_options.include_usage
    return await respond(request, runtime, wanted, ChatReply(served, usage), bool(body.stream))


def model_object(served: Served) -> dict[str, Any]:
    """OpenAI's model object, with what a client may want to know besides."""
    return {
        "id": served.name,
        "object": "model",
        "created": served.since,
        "owned_by": "edgechat",
        "context_window": served.info.context,
    }


class ChatReply:
    """`Reply` of reply.py in OpenAI's `chat.completion` objects and chunks."""

    media_type = sse.MEDIA_TYPE

    def __init__(self, served: Served, with_usage: bool = False) -> None:
        """`with_usage`: a stream has a last chunk with the token counts."""
        self._served = served
        self._with_usage = with_usage
        self._called: set[int] = set()
        self._head = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": served.name}

    def whole(self, answer: Whole) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
        if answer.reasoning:
            message["reasoning_content"] = answer.reasoning
        if answer.calls:
            message |= {"content": answer.text or None, "tool_calls": [call_object(call) for call in answer.calls]}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.done.finish_reason}
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [choice],
            "usage": usage_of(answer.done),
            "edgechat": truth(self._served, answer.done),
        }

    def begin(self) -> Iterable[bytes]:
        yield self._chunk({"role": "assistant", "content": ""})

    def aside(self, progress: str) -> Iterable[bytes]:
        yield sse.comment(progress)

    def part(self, event: Part) -> Iterable[bytes]:
        match event:
            case Delta():
                yield self._chunk({"content": event.text})
            case Reasoning():
                yield self._chunk({"reasoning_content": event.text})
            case Called():
                yield self._chunk({"tool_calls": [self._more_of(event)]})

    def _more_of(self, event: Called) -> dict[str, Any]:
        """A tool call's part: only its first one names it."""
        more = {"index": event.index, "function": {"arguments": event.arguments}}
        if event.index in self._called:
            return more
        self._called.add(event.index)
        return {"index": event.index, **call_object(ToolCall(event.id, event.name, event.arguments))}

    def end(self, done: Done) -> Iterable[bytes]:
        """The very last chunk carries the `edgechat` object."""
        last = {"edgechat": truth(self._served, done)}
        if self._with_usage:
            yield self._chunk({}, done.finish_reason)
            total = {**self._head, "object": "chat.completion.chunk", "choices": [], "usage": usage_of(done)}
            yield sse.data(total | last)
        else:
            yield self._chunk({}, done.finish_reason, **last)
        yield sse.DONE

    def failed(self, problem: Problem) -> Iterable[bytes]:
        yield sse.data(errors.openai(problem))

    def _chunk(self, delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunk = {**self._head, "object": "chat.completion.chunk", "choices": [choice], **more}
        return sse.data({**chunk, "usage": None} if self._with_usage else chunk)


def call_object(call: ToolCall) -> dict[str, Any]:
    """OpenAI's tool call."""
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def usage_of(done: Done) -> dict[str, Any]:
    """OpenAI's usage object."""
    return {
        "prompt_tokens": done.usage.prompt_tokens,
        "completion_tokens": done.usage.completion_tokens,
        "total_tokens": done.usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": done.usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": done.usage.reasoning_tokens},
    }
