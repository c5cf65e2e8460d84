"""A sequence being decoded: one answer on its way, what is read, what is said, when it ends. Pure: time is handed in.

    prompt   ├──── cached ────┼──── to read, slice by slice ────┤
    position 0             cached                  done     len(prompt)  then one position per token said

    token ─► Detokenizer (whole characters) ─► Reply (thinking, calls, text) ─► Stops (of the text) ─► events

An answer that had to give up its place is put back with all it has: what it said counts as prompt to be read again.

A picture in the prompt is a run of made-up tokens, and a slice has cells of one picture or tokens, never both.
"""

import secrets
import sys
from collections.abc import Sequence

import msgspec

from edgechat.engine.base import Glance
from edgechat.errors import InvalidRequest, failed_of
from edgechat.prompt.detokenize import Detokenizer, Stops
from edgechat.prompt.reply import Piece, Reply
from edgechat.prompt.tokenizer import Tokenizer
from edgechat.prompt.tokens import Prepared
from edgechat.prompt.tools import callable_of
from edgechat.scheduler import repeat
from edgechat.scheduler.constrain import Grammar, param_of
from edgechat.types import (
    CAP,
    Delta,
    Done,
    Failed,
    FinishReason,
    GenRequest,
    Guard,
    Scored,
    StopReason,
    Timing,
    Usage,
)

NO_WAY_ON = "the schema lets nothing follow in the answer: look for what needs itself, or make it simpler."

Said = Piece | Done | Failed
FINISHED: dict[StopReason, FinishReason] = {"tool_calls": "tool_calls", "length": "length", "loop": "length"}


class Answer:
    """The state of one request in the scheduler. Times are in seconds of one monotonic clock."""

    def __init__(
        self,
        id: int,
        request: GenRequest,
        prompt: Prepared,
        tokenizer: Tokenizer,
        now: float,
        grammar: Grammar | None = None,
    ) -> None:
        self.id = id
        self.request = request
        self.grammar = grammar
        self.tokens = list(prompt.tokens)  # the prompt, then everything said
        self.asked = len(self.tokens)  # length of the prompt
        self.arrived = now
        self.started: float | None = None
        self.first_token: float | None = None
        self.last_token = now
        self.seq = -1  # the engine's sequence, while it has one
        self.done = 0  # positions the engine holds
        self.cached = 0  # tokens of the prompt that need not be read
        self.turns = prompt.turns
        self.views = prompt.views
        self.places: list[int] = []  # where to pause for a checkpoint
        self._dropped = prompt.dropped
        self._media = prompt.media
        self._unheld = (*prompt.unheld, *(grammar.unheld if grammar else ()))
        self._tokenizer = tokenizer
        self._text = Detokenizer(tokenizer.piece)
        self._reply = _reply(request, prompt, grammar)
        self._stops = Stops(request.stop if request.schema is None else ())  # JSON of a schema is whole or none
        self._scored: list[Scored] = []  # of tokens whose text is not told yet
        self._thought = 0
        capped = request.max_tokens is None and request.guards.cap
        self._most = CAP if capped else request.max_tokens or sys.maxsize
        self._room = request.context or sys.maxsize
        self._acted: list[Guard] = []
        self._capped = capped

    @property
    def client(self) -> str:
        """Whose answer it is."""
        return self.request.client

    @property
    def realm(self) -> str:
        """Whose prefixes it may share."""
        return self.request.realm

    @property
    def background(self) -> bool:
        """Whether it goes after those that somebody waits for."""
        return self.request.background

    @property
    def said(self) -> int:
        """Tokens of answer so far."""
        return len(self.tokens) - self.asked

    @property
    def prefilling(self) -> bool:
        """Whether more than the newest token is still to be fed."""
        return len(self.tokens) - self.done > 1 or self.said == 0

    def start(self, seq: int, cached: int, now: float, places: Sequence[int] = ()) -> None:
        """Take sequence `seq`, which holds the first `cached` tokens; pause at `places`, or behind the view there."""
        self.seq, self.done, self.places = seq, cached, self.after_views(places)
        if self.started is None:
            self.started, self.cached = now, cached

    def next_tokens(self, most: int) -> list[int]:
        """What the next step feeds, at most `most` tokens, and none beyond the next place or the border of a view."""
        end = min([self.done + most, *self.places[:1], *self._borders()])
        return self.tokens[self.done : end]

    def _borders(self) -> list[int]:
        """The next beginning or end of a view, if there is one."""
        borders = (border for before, view in self.views for border in (before, before + len(view.cells)))
        return [border for border in borders if border > self.done][:1]

    @property
    def glance(self) -> Glance | None:
        """The view that is read on, and from which cell; None where tokens come next."""
        for before, view in self.views:
            if before <= self.done < before + len(view.cells):
                return Glance(view, self.done - before)
        return None

    @property
    def is_amid_view(self) -> bool:
        """Whether a part of a view is read: there nobody branches off."""
        return (glance := self.glance) is not None and glance.first > 0

    def after_views(self, places: Sequence[int]) -> list[int]:
        """`places`, ascending; those inside views are moved to their ends."""
        ends = [(before, before + len(view.cells)) for before, view in self.views]
        return sorted({next((end for before, end in ends if before < at < end), at) for at in places})

    def arrived_at_place(self) -> bool:
        """Whether this is a place to pause at, once."""
        if self.places[:1] != [self.done]:
            return False
        self.places.pop(0)
        return True

    def say(self, token: int, context: int, now: float, scored: Scored | None = None) -> list[Said]:
        """Take in a drawn token: what it makes certain; the last one is Done or Failed if this is the end."""
        self.first_token = self.first_token or now
        self.last_token = now
        if self.grammar is not None and self.grammar.failure:
            return [failed_of(InvalidRequest(NO_WAY_ON, param_of(self.request)))]
        if self._tokenizer.is_end(token):
            return self._end("eos")
        self.tokens.append(token)
        self._thought += self._reply.thinking
        if scored is not None:
            self._scored.append(scored)
        told: list[Said] = [*self._pieces(self._reply.push(self._text.push(token)))]
        if self._stops.met is not None:
            return [*told, *self._end("stop")]
        if self.grammar is not None and self.grammar.complete:
            return [*told, *self._end("eos")]
        if self._reply.called and not self.request.parallel_tool_calls:
            return [*told, *self._end("eos")]
        if self._reply.repeated and self.request.guards.loop:
            self._acted.append("loop")
            return [*told, *self._end("eos")]
        room = min(context, self._room)
        if self.said >= self._most or len(self.tokens) >= room:
            return [*told, *self._cut_off(len(self.tokens) < room)]
        if self.request.guards.loop and self.said % repeat.LOOK == 0 and repeat.repeats(self.tokens[self.asked :]):
            self._acted.append("loop")
            return [*told, *self._close(), *self._end("loop")]
        return told

    def _cut_off(self, by_limit: bool) -> list[Said]:
        if by_limit and self._capped:
            self._acted.append("cap")
        return [*self._close(), *self._end("length")]

    def _close(self) -> list[Said]:
        """What makes a cut-off JSON text a legal one."""
        if self.grammar is None or not self.request.guards.close or not self._reply.saying:
            return []
        text = "".join(self._text.push(token) for token in self.grammar.closing())
        if text:
            self._acted.append("close")
        return [*self._pieces(self._reply.push(text))]

    def _pieces(self, pieces: list[Piece]) -> list[Piece]:
        """`pieces` up to a stop string in what is said, with the log probabilities that are due."""
        told: list[Piece] = []
        for piece in pieces:
            if isinstance(piece, Delta):
                told.append(Delta(self._stops.push(piece.text)))
                if self._stops.met is not None:
                    break
            else:
                told += [Delta(self._stops.rest()), piece]
        return self._with_scores([piece for piece in told if not isinstance(piece, Delta) or piece.text])

    def _with_scores(self, pieces: list[Piece]) -> list[Piece]:
        """`pieces`, the first said one with the log probabilities that are due."""
        if not self._reply.saying:
            self._scored.clear()
        for at, piece in enumerate(pieces):
            if isinstance(piece, Delta) and self._scored:
                pieces[at] = msgspec.structs.replace(piece, logprobs=tuple(self._scored))
                self._scored.clear()
        return pieces

    def _end(self, reason: StopReason) -> list[Said]:
        """The rest of the text, and the end."""
        rest: list[Piece] = []
        if self._stops.met is None:
            rest = self._pieces(self._reply.finish(cut=reason in ("length", "loop")))
            if left := self._stops.rest():
                rest += self._with_scores([Delta(left)])
        if self._scored:
            rest.append(Delta("", tuple(self._scored)))
        if self._reply.mended:
            self._acted.append("repair")
        called = self._reply.calls and reason in ("eos", "stop")
        return [*rest, self._done("tool_calls" if called else reason)]

    def _done(self, reason: StopReason) -> Done:
        first = self.first_token or self.last_token
        started = self.arrived if self.started is None else self.started
        seconds = self.last_token - first
        rate = (self.said - 1) / seconds if self.said > 1 and seconds > 0 else None
        return Done(
            finish_reason=FINISHED.get(reason, "stop"),
            stop_reason=reason,
            stop=self._stops.met,
            usage=Usage(self.asked, self.said, self.cached, self._thought),
            timing=Timing(
                queue_ms=round((started - self.arrived) * 1000, 1),
                prefill_ms=round((first - started) * 1000, 1),
                decode_tok_s=rate and round(rate, 1),
            ),
            dropped_messages=self._dropped,
            guards=tuple(self._acted),
            unheld=self._unheld,
            media=self._media,
        )


def _reply(request: GenRequest, prompt: Prepared, grammar: Grammar | None) -> Reply:
    tools = callable_of(request) if request.prompt is None else ()
    return Reply(
        id=f"call_{secrets.token_hex(8)}",
        thinks=prompt.thinks,
        may_think=prompt.may_think,
        tools={tool.name: tool.parameters for tool in tools},
        guided=grammar is not None,
        repair=request.guards.repair,
        once=request.guards.loop,
        several=request.parallel_tool_calls,
        form=prompt.form,
        fits=grammar.fits if grammar else None,
    )
