"""OpenAI's older completions: POST /v1/completions continues a text as it stands, without the model's template."""

import codecs
import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field, StrictBool, StrictInt

from edgechat.api import errors, sse
from edgechat.api.errors import Problem
from edgechat.api.fields import Drawn, Many, MaxTokens, User
from edgechat.api.openai import fingerprint, usage_of
from edgechat.api.reply import Part, Whole, respond, truth
from edgechat.api.requests import StrictRoute, TheRuntime, addressed, check_vocabulary
from edgechat.api.wire import StreamOptions
from edgechat.errors import InvalidRequest
from edgechat.runtime import Served
from edgechat.types import Delta, Done, GenRequest, Sampling, Scored

DEFAULT_TOKENS = 16  # as OpenAI's

Text = Annotated[str, Field(min_length=1)]
Tokens = Annotated[Many[Annotated[StrictInt, Field(ge=0, lt=1 << 31)]], Field(min_length=1)]

router = APIRouter(prefix="/v1", route_class=StrictRoute)


class CompletionRequest(Drawn):
    """Body of POST /v1/completions. A parameter that is null was not given."""

    neutral: ClassVar = {"n": (1,), "best_of": (1,), "echo": (False,), "suffix": ("",)}

    prompt: Text | Annotated[Many[Text], Field(min_length=1, max_length=1)] | Tokens
    model: str | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: MaxTokens | None = None
    logprobs: Annotated[StrictInt, Field(ge=0, le=5)] | None = None
    user: User | None = None

    def generation(self, defaults: Sampling) -> GenRequest:
        """What the engine is asked for."""
        first = self.prompt if isinstance(self.prompt, str) else self.prompt[0]
        return GenRequest(
            messages=(),
            prompt=first if isinstance(first, str) else tuple(token for token in self.prompt if isinstance(token, int)),
            sampling=self.sampling(defaults),
            max_tokens=self.max_tokens or DEFAULT_TOKENS,
            stop=self.stops(),
            logprobs=self.logprobs,
        )


@router.post("/completions", summary="Continue a text, whole or streamed")
async def completions(body: CompletionRequest, request: Request, runtime: TheRuntime) -> Response:
    served = runtime.find(body.model)
    wanted = addressed(body.generation(served.sampling), request, body.model, body.user)
    check_vocabulary(served, wanted.sampling.logit_bias, "logit_bias")
    check_vocabulary(served, wanted.prompt if isinstance(wanted.prompt, tuple) else (), "prompt")
    if body.stream_options is not None and not body.stream:
        raise InvalidRequest("stream_options go with stream: true.", "stream_options")
    usage = body.stream_options is not None and body.stream_options.include_usage
    return await respond(request, runtime, wanted, CompletionReply(served, wanted, usage), bool(body.stream))


class CompletionReply:
    """`Reply` of reply.py in OpenAI's `text_completion` objects."""

    media_type = sse.MEDIA_TYPE

    def __init__(self, served: Served, wanted: GenRequest, with_usage: bool) -> None:
        self._served = served
        self._with_usage = with_usage
        self._scores = Scores() if wanted.logprobs is not None else None
        self._head = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": served.name,
            "system_fingerprint": fingerprint(served),
        }

    def whole(self, answer: Whole) -> dict[str, Any]:
        choice = self._choice(answer.text, answer.logprobs, answer.done.finish_reason)
        return self._with([choice], usage=usage_of(answer.done), edgechat=truth(self._served, answer.done))

    def begin(self) -> Iterable[bytes]:
        return ()

    def aside(self, progress: str) -> Iterable[bytes]:
        yield sse.comment(progress)

    def part(self, event: Part) -> Iterable[bytes]:
        if isinstance(event, Delta):
            yield self._chunk([self._choice(event.text, event.logprobs)])

    def end(self, done: Done) -> Iterable[bytes]:
        """The very last chunk carries the `edgechat` object."""
        last = {"edgechat": truth(self._served, done)}
        finish = self._choice("", (), done.finish_reason)
        if self._with_usage:
            yield self._chunk([finish])
            yield sse.data(self._with([], usage=usage_of(done), **last))
        else:
            yield self._chunk([finish], **last)
        yield sse.DONE

    def failed(self, problem: Problem) -> Iterable[bytes]:
        yield sse.data(errors.openai(problem))

    def _choice(self, text: str, scored: Sequence[Scored], finish: str | None = None) -> dict[str, Any]:
        logprobs = self._scores.table(scored) if self._scores is not None else None
        return {"text": text, "index": 0, "logprobs": logprobs, "finish_reason": finish}

    def _chunk(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        return sse.data(self._with(choices, **({"usage": None} if self._with_usage else {}), **more))

    def _with(self, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        return {**self._head, "choices": choices, **more}


class Scores:
    """Log probabilities in the older form: columns, and each token's place in the text so far, in characters."""

    def __init__(self) -> None:
        self._characters = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._at = 0

    def table(self, scored: Sequence[Scored]) -> dict[str, Any]:
        """The columns for the next tokens."""
        return {
            "tokens": [piece_text(one.piece) for one in scored],
            "token_logprobs": [one.logprob for one in scored],
            "top_logprobs": [{piece_text(top.piece): top.logprob for top in one.top} for one in scored],
            "text_offset": [self._place(one.piece) for one in scored],
        }

    def _place(self, piece: bytes) -> int:
        at = self._at
        self._at += len(self._characters.decode(piece))
        return at


def piece_text(piece: bytes) -> str:
    r"""A token's text; one that is only part of a character is spelled in bytes, such as `bytes:\xe4\xbd`."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)
