"""One answer on its way: what is read, what is said, when it ends. Pure: time is handed in.

    prompt   ├──── cached ────┼──── to read, slice by slice ────┤
    position 0             cached                  done     len(prompt)  then one position per token said

An answer that had to give up its place is put back with all it has: what it said counts as prompt to be read again.
"""

import sys
from collections.abc import Sequence
from typing import Literal

from edgechat.prompt.detokenize import Detokenizer
from edgechat.types import CAP, Done, GenRequest, Timing, Tokenizer, Usage


class Answer:
    """The state of one request in the scheduler. Times are in seconds of one monotonic clock."""

    def __init__(self, id: int, request: GenRequest, prompt: Sequence[int], tokenizer: Tokenizer, now: float) -> None:
        self.id = id
        self.request = request
        self.tokens = list(prompt)  # the prompt, then everything said
        self.asked = len(self.tokens)  # length of the prompt
        self.arrived = now
        self.started: float | None = None
        self.first_token: float | None = None
        self.last_token = now
        self.seq = -1  # the engine's sequence, while it has one
        self.done = 0  # positions the engine holds
        self.cached = 0  # tokens of the prompt that need not be read
        self._most = CAP if request.max_tokens is None and request.guards.cap else request.max_tokens or sys.maxsize
        self._tokenizer = tokenizer
        self._text = Detokenizer(tokenizer.piece, request.stop)

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
    def reading(self) -> bool:
        """Whether more than the newest token is still to be fed."""
        return len(self.tokens) - self.done > 1 or self.said == 0

    def start(self, seq: int, cached: int, now: float) -> None:
        """Take sequence `seq`, which holds the first `cached` tokens."""
        self.seq, self.done = seq, cached
        if self.started is None:
            self.started, self.cached = now, cached

    def next_tokens(self, most: int) -> list[int]:
        """What the next step feeds, at most `most` tokens."""
        return self.tokens[self.done : self.done + most]

    def say(self, token: int, context: int, now: float) -> tuple[str, Done | None]:
        """Take in a drawn token: the text it makes certain, and the end if this is it."""
        self.first_token = self.first_token or now
        self.last_token = now
        if self._tokenizer.is_end(token):
            return self._text.finish(), self._ended("eos")
        self.tokens.append(token)
        text = self._text.push(token)
        if self._text.stopped:
            return text, self._ended("stop")
        if self.said >= self._most or len(self.tokens) >= context:
            return text + self._text.finish(), self._ended("length")
        return text, None

    def _ended(self, reason: Literal["eos", "stop", "length"]) -> Done:
        first = self.first_token or self.last_token
        started = self.arrived if self.started is None else self.started
        seconds = self.last_token - first
        rate = (self.said - 1) / seconds if self.said > 1 and seconds > 0 else None
        return Done(
            finish_reason="length" if reason == "length" else "stop",
            stop_reason=reason,
            usage=Usage(prompt_tokens=self.asked, completion_tokens=self.said, cached_tokens=self.cached),
            timing=Timing(
                queue_ms=round((started - self.arrived) * 1000, 1),
                prefill_ms=round((first - started) * 1000, 1),
                decode_tok_s=rate and round(rate, 1),
            ),
        )
