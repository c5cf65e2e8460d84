"""OpenAI's chat API: POST /v1/chat/completions, GET /v1/models."""

import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from edgechat import __version__
from edgechat.api import errors, sse
from edgechat.api.errors import Problem
from edgechat.api.examples import CITY, SERVED, TURNS, WEATHER, Example
from edgechat.api.ignored import beginning, ignored_by
from edgechat.api.openai import choices
from edgechat.api.openai.wire import ChatRequest
from edgechat.api.reply import Part, Progress, Whole, comments_of, respond, truth
from edgechat.api.requests import TheCaller, TheRuntime, check_vocabulary
from edgechat.api.routes import ANY, MAX_SHOWN, Asks, Facts, Need, Router
from edgechat.errors import InvalidRequest
from edgechat.models.library import named
from edgechat.types import Called, Delta, Done, Reasoning, Scored, Served, ToolCall

LEAST = -9999.0  # a log probability that stands for none

router = Router("/v1")


LISTED = Example(None, lambda: {"object": "list", "data": [model_object(SERVED)]})
ANSWERED = Example(
    {"messages": TURNS},
    lambda: ChatReply(SERVED),
    {
        "streamed": {"messages": TURNS, "stream": True, "stream_options": {"include_usage": True}},
        "tools": {
            "messages": TURNS,
            "tools": [{"type": "function", "function": {**WEATHER, "parameters": CITY}}],
            "tool_choice": "auto",
        },
        "schema": {
            "messages": TURNS,
            "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": CITY}},
        },
    },
)


@router.get(
    "/models", Facts(Need.KEY, example=LISTED), "The models that can be asked for; the first one is the default"
)
async def models(runtime: TheRuntime, caller: TheCaller) -> dict[str, Any]:
    return {"object": "list", "data": [model_object(served) for served in runtime.models(caller)]}


@router.get("/models/{id:path}", Facts(Need.KEY), "One model")
async def model(id: str, runtime: TheRuntime, caller: TheCaller) -> dict[str, Any]:
    return model_object(named(runtime.find(id, caller).served, id))


@router.post(
    "/chat/completions",
    Facts(Need.KEY, Asks.NOW, max_body=MAX_SHOWN, example=ANSWERED, kinds=ANY),
    "Answer a conversation, whole or streamed",
)
async def chat_completions(body: ChatRequest, request: Request, runtime: TheRuntime, caller: TheCaller) -> Response:
    model = runtime.find(body.model, caller)
    wanted = body.generation(model.served.sampling)
    check_vocabulary(model.served, wanted.sampling.logit_bias, "logit_bias")
    if body.stream_options is not None and not body.stream:
        raise InvalidRequest("stream_options go with stream: true.", "stream_options")
    usage = body.stream_options is not None and body.stream_options.include_usage
    reply = ChatReply(model.served, usage, ignored_by(body, request, model.served.info))
    if body.n is None or body.n == 1:
        return await respond(request, model, wanted, reply, bool(body.stream))
    return await choices.respond(request, model, choices.times(wanted, body.n), reply, bool(body.stream))


def model_object(served: Served) -> dict[str, Any]:
    """OpenAI's model object, with what a client may want to know besides."""
    return {
        "id": served.name,
        "object": "model",
        "created": served.since,
        "owned_by": "edgechat",
        "context_window": served.info.context,
    }


def fingerprint(served: Served) -> str:
    """What the same seed needs to give the same answer: the same weights in the same release."""
    return f"fp_{served.sha256[:12]}_{__version__}"


class ChatReply:
    """`Reply` of reply.py in OpenAI's `chat.completion` objects and chunks; of `Replies` of choices.py too."""

    media_type = sse.MEDIA_TYPE

    def __init__(self, served: Served, with_usage: bool = False, ignored: tuple[str, ...] = ()) -> None:
        """`with_usage`: a stream has a last chunk with the token counts; `ignored`: as in ignored.py."""
        self._served = served
        self._ignored = ignored
        self._with_usage = with_usage
        self._called: set[tuple[int, int]] = set()
        self._head = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": served.name,
            "system_fingerprint": fingerprint(served),
        }

    def whole(self, answer: Whole) -> dict[str, Any]:
        return self.wholes([answer])

    def wholes(self, answers: Sequence[Whole]) -> dict[str, Any]:
        dones = [answer.done for answer in answers]
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [_choice(index, answer) for index, answer in enumerate(answers)],
            "usage": usage_of(*dones),
            "edgechat": truth(self._served, self._ignored, *dones),
        }

    def begin(self, index: int = 0) -> Iterable[bytes]:
        yield self._chunk(index, {"role": "assistant", "content": ""}, **beginning(self._ignored))

    def aside(self, event: Progress | None) -> Iterable[bytes]:
        return comments_of(event)

    def part(self, event: Part, index: int = 0) -> Iterable[bytes]:
        match event:
            case Delta():
                yield self._chunk(index, {"content": event.text}, scores=event.logprobs)
            case Reasoning():
                yield self._chunk(index, {"reasoning_content": event.text})
            case Called():
                yield self._chunk(index, {"tool_calls": [self._more_of(event, index)]})

    def _more_of(self, event: Called, index: int) -> dict[str, Any]:
        """A tool call's part: only its first one names it."""
        if (index, event.index) in self._called:
            return {"index": event.index, "function": {"arguments": event.arguments}}
        self._called.add((index, event.index))
        return {"index": event.index, **call_object(ToolCall(event.id, event.name, event.arguments))}

    def end(self, done: Done) -> Iterable[bytes]:
        yield from self.finish(0, done, [done])

    def finish(self, index: int, done: Done, all_: Sequence[Done] = ()) -> Iterable[bytes]:
        """The end of one answer, and of `all_` where it is the last: the very last chunk has the `edgechat` object.

        Clients look at the first choice of every chunk: only the one with the usage, which was asked for, has none.
        """
        told: dict[str, Any] = {"edgechat": truth(self._served, self._ignored, *all_)} if all_ else {}
        yield self._chunk(index, {}, done.finish_reason, (), **({} if self._with_usage else told))
        if all_ and self._with_usage:
            usage = {"choices": [], "usage": usage_of(*all_), **told}
            yield sse.data({**self._head, "object": "chat.completion.chunk", **usage})
        if all_:
            yield sse.DONE

    def failed(self, problem: Problem) -> Iterable[bytes]:
        yield sse.data(errors.openai(problem))

    def _chunk(
        self, index: int, delta: dict[str, Any], finish: str | None = None, scores: Sequence[Scored] = (), **more: Any
    ) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs_of(scores), "finish_reason": finish}
        chunk = {**self._head, "object": "chat.completion.chunk", "choices": [choice], **more}
        return sse.data({**chunk, "usage": None} if self._with_usage else chunk)


def _choice(index: int, answer: Whole) -> dict[str, Any]:
    """One of OpenAI's choices."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if answer.calls:
        message |= {"content": answer.text or None, "tool_calls": [call_object(call) for call in answer.calls]}
    return {
        "index": index,
        "message": message,
        "logprobs": logprobs_of(answer.logprobs),
        "finish_reason": answer.done.finish_reason,
    }


def logprobs_of(scores: Sequence[Scored]) -> dict[str, Any] | None:
    """OpenAI's log probabilities; None where there are none."""
    if not scores:
        return None
    content = [{**_score(scored), "top_logprobs": [_score(other) for other in scored.top]} for scored in scores]
    return {"content": content, "refusal": None}


def _score(scored: Scored) -> dict[str, Any]:
    text = scored.piece.decode(errors="replace")
    return {"token": text, "bytes": list(scored.piece), "logprob": max(scored.logprob, LEAST)}


def call_object(call: ToolCall) -> dict[str, Any]:
    """OpenAI's tool call."""
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def usage_of(*dones: Done) -> dict[str, Any]:
    """OpenAI's usage object, of several answers to one prompt together."""
    prompt, said = dones[0].usage.prompt_tokens, sum(done.usage.completion_tokens for done in dones)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": said,
        "total_tokens": prompt + said,
        "prompt_tokens_details": {"cached_tokens": dones[0].usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": sum(done.usage.reasoning_tokens for done in dones)},
    }
