"""OpenAI's older completions: POST /v1/completions continues a text as it stands, without the model's template."""

import codecs
import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar

import msgspec
from fastapi import Request
from fastapi.responses import Response
from pydantic import Field, StrictBool, StrictInt

from edgechat.api import errors, sse
from edgechat.api.errors import Problem
from edgechat.api.examples import SERVED, Example
from edgechat.api.fields import (
    CHOICES,
    FORMAT,
    WHOLE,
    Choices,
    Drawn,
    Many,
    MaxTokens,
    Text,
    Tokens,
    User,
    texts_of,
)
from edgechat.api.ignored import beginning, ignored_by
from edgechat.api.openai import choices
from edgechat.api.openai.chat import fingerprint, usage_of
from edgechat.api.openai.wire import ENGINES, StreamOptions
from edgechat.api.reply import Part, Progress, Whole, comments_of, respond, truth
from edgechat.api.requests import TheCaller, TheRuntime, check_vocabulary
from edgechat.api.routes import ANY, Asks, Facts, Need, Router
from edgechat.errors import InvalidRequest
from edgechat.types import Delta, Detokenize, Done, GenRequest, Model, Sampling, Scored, Served

DEFAULT_TOKENS = 16  # as OpenAI's

router = Router("/v1")


class CompletionRequest(Drawn):
    """Body of POST /v1/completions. A parameter that is null was not given."""

    neutral: ClassVar = {**ENGINES, **FORMAT, "suffix": ("",)}

    prompt: Text | Tokens | Annotated[Many[Text] | Many[Tokens], Field(min_length=1, max_length=CHOICES)]
    model: str | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    n: Choices | None = None
    echo: StrictBool | None = None
    max_tokens: MaxTokens | None = None
    logprobs: Annotated[StrictInt, Field(ge=0, le=5), WHOLE] | None = None
    user: User | None = None

    def generations(self, defaults: Sampling) -> list[GenRequest]:
        """What the engine is asked for: every prompt, one after the other, `n` times each."""
        count, prompts = self.n or 1, texts_of(self.prompt)
        if count * len(prompts) > CHOICES:
            raise InvalidRequest(f"{len(prompts)} prompts {count} times are more than {CHOICES} answers.", "n")
        if self.echo and self.logprobs is not None:
            raise InvalidRequest("echo goes without logprobs: a prompt's own are not computed.", "echo")
        common = GenRequest(
            messages=(),
            sampling=self.sampling(defaults),
            max_tokens=self.max_tokens or DEFAULT_TOKENS,
            stop=self.stops(),
            logprobs=self.logprobs,
            user=self.user or "",
        )
        asked = [msgspec.structs.replace(common, prompt=prompt) for prompt in prompts]
        return [one for each in asked for one in choices.times(each, count)]


EXAMPLE = Example(
    {"prompt": "The capital of France", "max_tokens": 8},
    lambda: CompletionReply(SERVED, [GenRequest(())], with_usage=False, echoes=[""]),
)


@router.post(
    "/completions",
    Facts(Need.KEY, Asks.NOW, example=EXAMPLE, kinds=ANY),
    "Continue a text, or several, whole or streamed",
)
async def completions(body: CompletionRequest, request: Request, runtime: TheRuntime, caller: TheCaller) -> Response:
    model = runtime.find(body.model, caller)
    served = model.served
    wanted = body.generations(served.sampling)
    check_vocabulary(served, wanted[0].sampling.logit_bias, "logit_bias")
    for one in wanted:
        check_vocabulary(served, one.prompt if isinstance(one.prompt, tuple) else (), "prompt")
    if body.stream_options is not None and not body.stream:
        raise InvalidRequest("stream_options go with stream: true.", "stream_options")
    usage = body.stream_options is not None and body.stream_options.include_usage
    echoes = [await text_of(one, model) for one in wanted] if body.echo else [""] * len(wanted)
    ignored = ignored_by(body, request, served.info)
    reply = CompletionReply(served, wanted, usage, echoes, body.n or 1, ignored)
    if len(wanted) == 1:
        return await respond(request, model, wanted[0], reply, bool(body.stream))
    return await choices.respond(request, model, wanted, reply, bool(body.stream))


async def text_of(wanted: GenRequest, model: Model) -> str:
    """The prompt's text."""
    prompt = wanted.prompt
    return (await model.ask(Detokenize(prompt))).text if isinstance(prompt, tuple) else prompt or ""


class CompletionReply:
    """`Reply` of reply.py in OpenAI's `text_completion` objects; of `Replies` of choices.py too."""

    media_type = sse.MEDIA_TYPE

    def __init__(
        self,
        served: Served,
        wanted: Sequence[GenRequest],
        with_usage: bool,
        echoes: Sequence[str],
        times: int = 1,
        ignored: tuple[str, ...] = (),
    ) -> None:
        """`echoes`: what each answer's text begins with, its prompt or nothing; `times`: answers of each prompt.

        `ignored`: as in ignored.py.
        """
        self._served = served
        self._ignored = ignored
        self._with_usage = with_usage
        self._times = times
        self._scores = [Scores() if one.logprobs is not None else None for one in wanted]
        self._echoes = echoes
        self._head = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": served.name,
            "system_fingerprint": fingerprint(served),
        }

    def whole(self, answer: Whole) -> dict[str, Any]:
        return self.wholes([answer])

    def wholes(self, answers: Sequence[Whole]) -> dict[str, Any]:
        dones = [answer.done for answer in answers]
        told = [
            self._choice(at, self._echoes[at] + answer.text, answer.logprobs, answer.done.finish_reason)
            for at, answer in enumerate(answers)
        ]
        return self._with(told, usage=self._usage(dones), edgechat=truth(self._served, self._ignored, *dones))

    def begin(self, index: int = 0) -> Iterable[bytes]:
        if self._echoes[index] or self._ignored:
            yield self._chunk([self._choice(index, self._echoes[index])], **beginning(self._ignored))

    def aside(self, event: Progress | None) -> Iterable[bytes]:
        return comments_of(event)

    def part(self, event: Part, index: int = 0) -> Iterable[bytes]:
        if isinstance(event, Delta):
            yield self._chunk([self._choice(index, event.text, event.logprobs)])

    def end(self, done: Done) -> Iterable[bytes]:
        yield from self.finish(0, done, [done])

    def finish(self, index: int, done: Done, all_: Sequence[Done] = ()) -> Iterable[bytes]:
        """As in chat.py."""
        told = {"edgechat": truth(self._served, self._ignored, *all_)} if all_ else {}
        choice = self._choice(index, "", finish=done.finish_reason)
        yield self._chunk([choice], **({} if self._with_usage else told))
        if all_ and self._with_usage:
            yield sse.data(self._with([], usage=self._usage(all_), **told))
        if all_:
            yield sse.DONE

    def failed(self, problem: Problem) -> Iterable[bytes]:
        yield sse.data(errors.openai(problem))

    def _usage(self, dones: Sequence[Done]) -> dict[str, Any]:
        """The counts of all answers together; each prompt counts once, however often it was answered."""
        prompts = [done.usage for done in dones[:: self._times]]
        prompt, said = sum(one.prompt_tokens for one in prompts), sum(done.usage.completion_tokens for done in dones)
        cached = {"cached_tokens": sum(one.cached_tokens for one in prompts)}
        totals = {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said}
        return usage_of(dones[0]) | totals | {"prompt_tokens_details": cached}

    def _choice(
        self, index: int, text: str, scored: Sequence[Scored] = (), finish: str | None = None
    ) -> dict[str, Any]:
        scores = self._scores[index]
        logprobs = scores.table(scored) if scores is not None else None
        return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish}

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
