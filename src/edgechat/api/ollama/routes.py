"""Ollama's answers: POST /api/chat, POST /api/generate.

An answer is one JSON object, or one per line as it grows; the last line has the numbers. Durations are in nanoseconds,
as Ollama has them.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from fastapi import Request
from fastapi.responses import JSONResponse, Response

from edgechat.api.errors import Problem
from edgechat.api.examples import CITY, QUESTION, SERVED, TURNS, Example
from edgechat.api.ignored import beginning, ignored_by
from edgechat.api.ollama.errors import CHAT_WORDS, GENERATE_WORDS, OLLAMA, error_object
from edgechat.api.ollama.listing import LINES, moment
from edgechat.api.ollama.wire import Asked, ChatRequest, GenerateRequest, Kept
from edgechat.api.openai.chat import logprobs_of
from edgechat.api.reply import Part, Progress, Whole, accepted, told, truth
from edgechat.api.requests import TheCaller, TheRuntime
from edgechat.api.routes import ANY, MAX_SHOWN, Asks, Facts, Need, Router
from edgechat.api.tools import arguments_of
from edgechat.errors import OperatorOnly
from edgechat.types import Called, Delta, Done, Model, Reasoning, Scored, Served, ToolCall

NS = 1_000_000  # nanoseconds in a millisecond

CHATTED = Example({"messages": TURNS}, lambda: ChatReply(SERVED), {"schema": {"messages": TURNS, "format": CITY}})
GENERATED = Example({"prompt": QUESTION}, lambda: GenerateReply(SERVED))

router = Router("/api", OLLAMA)


@router.post(
    "/chat",
    Facts(Need.KEY, Asks.NOW, max_body=MAX_SHOWN, words=CHAT_WORDS, example=CHATTED, kinds=ANY),
    "Answer a conversation in Ollama's shape, streamed or whole",
)
async def chat(body: ChatRequest, request: Request, runtime: TheRuntime, caller: TheCaller) -> Response:
    model = runtime.find(body.name, caller)
    ignored = ignored_by(body, request, model.served.info)
    if not body.messages:
        return await prepared(model, body, ignored, message={"role": "assistant", "content": ""})
    answer = await accepted(request, model, body.generation(model.served.sampling))
    return await told(
        request, answer, ChatReply(model.served, (*ignored, *stay(model, body))), body.stream is not False
    )


@router.post(
    "/generate",
    Facts(Need.KEY, Asks.NOW, max_body=MAX_SHOWN, words=GENERATE_WORDS, example=GENERATED, kinds=ANY),
    "Answer a prompt in Ollama's shape, streamed or whole",
)
async def generate(body: GenerateRequest, request: Request, runtime: TheRuntime, caller: TheCaller) -> Response:
    model = runtime.find(body.name, caller)
    ignored = ignored_by(body, request, model.served.info)
    if not body.prompt and not body.images:
        return await prepared(model, body, ignored, response="")
    answer = await accepted(request, model, body.generation(model.served.sampling))
    return await told(
        request, answer, GenerateReply(model.served, (*ignored, *stay(model, body))), body.stream is not False
    )


def stay(model: Model, body: Kept) -> tuple[str, ...]:
    """Let the model, which is in use, stay as long as `keep_alive` says: 0 lets it go after that.

    Returns what had no effect, because the caller is no operator.
    """
    if body.keep_alive is None:
        return ()
    try:
        model.keep(body.keep_alive)
    except OperatorOnly:
        return ("keep_alive",)
    return ()


async def prepared(model: Model, body: Asked, ignored: tuple[str, ...], **empty: Any) -> Response:
    """What Ollama's clients ask nothing for: to load a model, or to let it go. Raises OperatorOnly for the latter."""
    if body.keep_alive == 0:
        model.keep(0)
        told = {"done": True, "done_reason": "unload", **beginning(ignored)}
        return JSONResponse({**head(model.served), **empty, **told})
    await model.load()
    told = {"done": True, "done_reason": "load", **beginning((*ignored, *stay(model, body)))}
    return JSONResponse({**head(model.served), **empty, **told})


def scored(scores: Sequence[Scored]) -> dict[str, Any]:
    """The log probabilities of a part of the answer, where they were asked for."""
    told = logprobs_of(scores)
    return {"logprobs": told["content"]} if told else {}


def head(served: Served) -> dict[str, Any]:
    """What every object of an answer begins with."""
    return {"model": served.name, "created_at": moment(time.time())}


class ChatReply:
    """`Reply` of reply.py in Ollama's chat objects. Calls are told at the end: no line has a part of one."""

    media_type = LINES

    def __init__(self, served: Served, ignored: tuple[str, ...] = ()) -> None:
        """`ignored`: as in ignored.py; the first line of a stream says it, too."""
        self._served = served
        self._ignored = ignored
        self._untold = ignored
        self._began = time.monotonic_ns()
        self._calls: dict[int, ToolCall] = {}

    def whole(self, answer: Whole) -> dict[str, Any]:
        said = self._object(answer.text, answer.reasoning, answer.calls)
        return said | scored(answer.logprobs) | self._numbers(answer.done)

    def begin(self) -> Iterable[bytes]:
        return ()

    def aside(self, event: Progress | None) -> Iterable[bytes]:
        del event  # every line is part of the answer here
        return ()

    def part(self, event: Part) -> Iterable[bytes]:
        match event:
            case Delta(text=text, logprobs=scores):
                yield self._more(self._object(text) | scored(scores))
            case Reasoning(text=text):
                yield self._more(self._object("", text))
            case Called(index=index):
                before = self._calls[index].arguments if index in self._calls else ""
                self._calls[index] = ToolCall(event.id, event.name, before + event.arguments)

    def end(self, done: Done) -> Iterable[bytes]:
        if self._calls:
            yield self._more(self._object("", calls=self._calls.values()))
        yield self._line(self._object("") | self._numbers(done))

    def failed(self, problem: Problem) -> Iterable[bytes]:
        yield self._line(error_object(problem))

    def _object(self, text: str, thought: str = "", calls: Iterable[ToolCall] = ()) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if thought:
            message["thinking"] = thought
        if told := [call_object(at, call) for at, call in enumerate(calls)]:
            message["tool_calls"] = told
        return {**head(self._served), "message": message}

    def _numbers(self, done: Done) -> dict[str, Any]:
        usage, timing = done.usage, done.timing
        seconds = usage.completion_tokens / timing.decode_tok_s if timing.decode_tok_s else 0.0
        return {
            "done": True,
            "done_reason": "length" if done.finish_reason == "length" else "stop",
            "total_duration": time.monotonic_ns() - self._began,
            "load_duration": 0,
            "prompt_eval_count": usage.prompt_tokens,
            "prompt_eval_duration": int(timing.prefill_ms * NS),
            "eval_count": usage.completion_tokens,
            "eval_duration": int(seconds * 1000 * NS),
            "edgechat": truth(self._served, self._ignored, done),
        }

    def _more(self, part: dict[str, Any]) -> bytes:
        line = self._line(part | {"done": False} | beginning(self._untold))
        self._untold = ()
        return line

    @staticmethod
    def _line(value: dict[str, Any]) -> bytes:
        return msgspec.json.encode(value) + b"\n"


class GenerateReply(ChatReply):
    """`ChatReply`, but the text is not in a message."""

    def _object(self, text: str, thought: str = "", calls: Iterable[ToolCall] = ()) -> dict[str, Any]:
        del calls  # there are no tools here
        return {**head(self._served), "response": text, **({"thinking": thought} if thought else {})}


def call_object(index: int, call: ToolCall) -> dict[str, Any]:
    """Ollama's tool call."""
    return {"id": call.id, "function": {"index": index, "name": call.name, "arguments": arguments_of(call)}}
