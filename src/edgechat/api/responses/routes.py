"""OpenAI's Responses API: an answer is a list of items (thoughts, a message, calls), one written at a time.

    created, in_progress ─► (item added ─► part added ─► delta … ─► part done ─► item done) … ─► completed | incomplete

Every event has a number, and the last one holds the whole response: what a stream adds up to is what is not streamed.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.responses import Response

from edgechat.api import errors, sse
from edgechat.api.errors import Problem
from edgechat.api.examples import CITY, QUESTION, SERVED, WEATHER, Example
from edgechat.api.fields import json_text
from edgechat.api.ignored import beginning, ignored_by
from edgechat.api.openai.chat import logprobs_of
from edgechat.api.reply import Part, Progress, Whole, comments_of, respond, truth
from edgechat.api.requests import TheCaller, TheRuntime
from edgechat.api.responses.memory import Memory, Past
from edgechat.api.responses.wire import ResponsesRequest
from edgechat.api.routes import ANY, MAX_SHOWN, Asks, Facts, Need, Router
from edgechat.types import Called, Delta, Done, GenRequest, Reasoning, Scored, Served

WORDS = {"messages": "input", "response_format": "text.format", "enable_thinking": "reasoning.effort"}

router = Router("/v1")


async def past_of(request: Request, caller: TheCaller) -> Past:
    """The recent answers of the caller's realm."""
    memory: Memory = request.app.state.memory
    return memory.of(caller.realm)


ThePast = Annotated[Past, Depends(past_of)]


def _specimen() -> "ResponseReply":
    body = ResponsesRequest.model_validate({"input": QUESTION})
    return ResponseReply(SERVED, body, body.generation(SERVED.sampling, Past().conversation(body)))


EXAMPLE = Example(
    {"input": QUESTION},
    _specimen,
    {
        "tools": {"input": QUESTION, "tools": [{"type": "function", **WEATHER, "parameters": CITY}]},
        "schema": {
            "input": QUESTION,
            "text": {"format": {"type": "json_schema", "name": "answer", "schema": CITY}},
        },
    },
)


@router.post(
    "/responses",
    Facts(Need.KEY, Asks.NOW, max_body=MAX_SHOWN, words=WORDS, example=EXAMPLE, kinds=ANY),
    "Answer, whole or streamed; kept in memory for an hour, unless `store` is false",
)
async def responses(
    body: ResponsesRequest, request: Request, runtime: TheRuntime, past: ThePast, caller: TheCaller
) -> Response:
    model = runtime.find(body.model, caller)
    conversation, size = past.conversation(body), len(await request.body())
    wanted = body.generation(model.served.sampling, conversation)

    def keep(response: dict[str, Any]) -> None:
        if response["store"]:
            past.keep(response, conversation, size + len(json_text(response["output"])))

    reply = ResponseReply(model.served, body, wanted, ignored_by(body, request, model.served.info), keep)
    return await respond(request, model, wanted, reply, bool(body.stream))


@router.get("/responses/{id}", Facts(Need.KEY), "An answer that is kept")
async def response(id: str, past: ThePast) -> dict[str, Any]:
    return past.get(id).response


@router.delete("/responses/{id}", Facts(Need.KEY), "Forget an answer that is kept")
async def forget(id: str, past: ThePast) -> dict[str, Any]:
    past.forget(id)
    return {"id": id, "object": "response.deleted", "deleted": True}


class ResponseReply:
    """`Reply` of reply.py in OpenAI's response objects and events."""

    media_type = sse.MEDIA_TYPE

    def __init__(
        self,
        served: Served,
        body: ResponsesRequest,
        wanted: GenRequest,
        ignored: tuple[str, ...] = (),
        keep: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        """`ignored`: as in ignored.py; `keep` gets the response before anybody is told that it is complete."""
        self._keep = keep
        self._served = served
        self._ignored = ignored
        self._head = {
            "id": f"resp_{secrets.token_hex(12)}",
            "object": "response",
            "created_at": int(time.time()),
            "model": served.name,
            **_echo(body, wanted),
        }
        self._events = 0
        self._output: list[dict[str, Any]] = []  # finished items
        self._item: dict[str, Any] | None = None  # the one that is being written …
        self._made_of: object = None  # … of what: "text", "thought", or a call's number

    def whole(self, answer: Whole) -> dict[str, Any]:
        for part in _parts(answer):
            _ = list(self.part(part))
        _ = list(self._close(_status(answer.done)))
        return self._response(answer.done)

    def begin(self) -> Iterable[bytes]:
        for name in ("response.created", "response.in_progress"):
            yield self._event(name, response=self._response(None))

    def aside(self, event: Progress | None) -> Iterable[bytes]:
        return comments_of(event)

    def part(self, event: Part) -> Iterable[bytes]:
        match event:
            case Delta(text=text, logprobs=scores):
                yield from self._message()
                yield self._more("response.output_text.delta", text, content_index=0, logprobs=self._scored(scores))
            case Reasoning(text=text):
                yield from self._thought()
                yield self._more("response.reasoning_text.delta", text, content_index=0)
            case Called(arguments=arguments):
                yield from self._call(event)
                yield self._more("response.function_call_arguments.delta", arguments)

    def end(self, done: Done) -> Iterable[bytes]:
        if not self._output and self._item is None:
            yield from self._message()
        yield from self._close(_status(done))
        yield self._event(f"response.{_status(done)}", response=self._response(done))

    def failed(self, problem: Problem) -> Iterable[bytes]:
        details = {"code": problem.code, "message": problem.message, "param": problem.param}
        yield self._event("error", **details, **errors.openai(problem))

    # ── items ──

    def _message(self) -> Iterator[bytes]:
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        yield from self._open("text", {"type": "message", "id": _id("msg"), "role": "assistant"}, part)

    def _thought(self) -> Iterator[bytes]:
        part = {"type": "reasoning_text", "text": ""}
        yield from self._open("thought", {"type": "reasoning", "id": _id("rs"), "summary": []}, part)

    def _call(self, event: Called) -> Iterator[bytes]:
        call = {"type": "function_call", "id": _id("fc"), "call_id": event.id, "name": event.name, "arguments": ""}
        yield from self._open(event.index, call)

    def _open(self, made_of: object, item: dict[str, Any], part: dict[str, Any] | None = None) -> Iterator[bytes]:
        """Finish the item that is being written and begin `item`, unless it is made of the same."""
        if self._item is not None and self._made_of == made_of:
            return
        yield from self._close("completed")
        self._item, self._made_of = {**item, "status": "in_progress"}, made_of
        added = {**self._item, "content": []} if part else dict(self._item)
        yield self._event("response.output_item.added", output_index=len(self._output), item=added)
        if part:
            self._item["content"] = [part]
            yield self._event("response.content_part.added", **self._place(content_index=0), part=dict(part))

    def _more(self, name: str, delta: str, **more: Any) -> bytes:
        """More text of the item that is being written."""
        assert self._item is not None
        if "content" in self._item:
            self._item["content"][0]["text"] += delta
        else:
            self._item["arguments"] += delta
        return self._event(name, **self._place(**more), delta=delta)

    def _scored(self, scores: Sequence[Scored]) -> list[dict[str, Any]]:
        """The log probabilities of more of the message, which keeps them too."""
        assert self._item is not None
        told: list[dict[str, Any]] = (logprobs_of(scores) or {"content": []})["content"]
        self._item["content"][0]["logprobs"] += told
        return told

    def _close(self, status: str) -> Iterator[bytes]:
        """Finish the item that is being written, if there is one."""
        item = self._item
        if item is None:
            return
        if item["type"] == "function_call":
            whole = {"arguments": item["arguments"], "name": item["name"]}
            yield self._event("response.function_call_arguments.done", **self._place(), **whole)
        else:
            (part,) = item["content"]
            at = self._place(content_index=0)
            text = {key: part[key] for key in ("text", "logprobs") if key in part}
            yield self._event(f"response.{part['type']}.done", **at, **text)
            yield self._event("response.content_part.done", **at, part=part)
        item["status"] = status
        yield self._event("response.output_item.done", output_index=len(self._output), item=item)
        self._output.append(item)
        self._item = None

    def _place(self, **more: Any) -> dict[str, Any]:
        assert self._item is not None
        return {"item_id": self._item["id"], "output_index": len(self._output), **more}

    def _event(self, event: str, **fields: Any) -> bytes:
        self._events += 1
        return sse.named({"type": event, "sequence_number": self._events - 1, **fields})

    def _response(self, done: Done | None) -> dict[str, Any]:
        """The response object; without `done`, one that has just begun."""
        incomplete = done is not None and _status(done) == "incomplete"
        response = {
            **self._head,
            "status": _status(done) if done else "in_progress",
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if incomplete else None,
            "output": list(self._output),
            "usage": usage_of(done) if done else None,
        }
        if done is None:
            return response | beginning(self._ignored)
        response |= {"edgechat": truth(self._served, self._ignored, done)}
        if self._keep is not None:
            self._keep(response)
        return response


def _parts(answer: Whole) -> Iterator[Part]:
    """What a stream of `answer` would be made of."""
    if answer.reasoning:
        yield Reasoning(answer.reasoning)
    if answer.text or not answer.calls:
        yield Delta(answer.text, answer.logprobs)
    for index, call in enumerate(answer.calls):
        yield Called(index, call.id, call.name, call.arguments)


def _echo(body: ResponsesRequest, wanted: GenRequest) -> dict[str, Any]:
    """What the response repeats of its request, with the values that were really used."""
    said = body.model_dump(by_alias=True, exclude_none=True)
    return {
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "parallel_tool_calls": wanted.parallel_tool_calls,
        "previous_response_id": body.previous_response_id,
        "reasoning": {"effort": body.reasoning.effort if body.reasoning else None, "summary": None},
        "store": body.store is not False,
        "temperature": wanted.sampling.temperature,
        "text": said.get("text", {"format": {"type": "text"}}),
        "tool_choice": said.get("tool_choice", "auto"),
        "tools": [tool.model_dump(exclude_none=True) for tool in body.functions()],
        "top_logprobs": wanted.logprobs or 0,
        "top_p": wanted.sampling.top_p,
        "truncation": wanted.truncation,
        "user": body.user,
    }


def _status(done: Done) -> str:
    return "incomplete" if done.finish_reason == "length" else "completed"


def _id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"


def usage_of(done: Done) -> dict[str, Any]:
    """The Responses API's usage object."""
    return {
        "input_tokens": done.usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": done.usage.cached_tokens},
        "output_tokens": done.usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": done.usage.reasoning_tokens},
        "total_tokens": done.usage.total_tokens,
    }
