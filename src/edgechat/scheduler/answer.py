"""One answer on its way: what is read, what is said, when it ends. Pure: time is handed in.

prompt   ├──── cached ────┼──── to read, slice by slice ────┤
position 0             cached                  done     len(prompt)  then one position per token said
"""

from collections.abc import Sequence
from typing import Literal

from edgechat.prompt.detokenize import Detokenizer
from edgechat.types import Done, GenRequest, Timing, Tokenizer, Usage


class Answer:
    """The state of one request in the scheduler. Times are in seconds of one monotonic clock."""

    def __init__(self, id: int, request: GenRequest, prompt: Sequence[int], now: float) -> None:
        self.id = id
        self.request = request
        self.prompt = list(prompt)
        self.arrived = now
        self.started = now
        self.first_token: float | None = None
        self.last_token = now
        self.cached = 0  # tokens of the prompt that need not be read
        self.done = 0  # positions the engine holds
        self.said: list[int] = []
        self.text: Detokenizer

    def start(self, cached: int, tokenizer: Tokenizer, now: float) -> None:
        """Begin to read after the first `cached` tokens of the prompt."""
        self.cached = self.done = cached
        self.started = now
        self.text = Detokenizer(tokenizer.piece, self.request.stop)

    @property
    def reading(self) -> bool:
        """Whether part of the prompt is still to be read."""
        return self.done < len(self.prompt)

    def next_tokens(self, most: int) -> Sequence[int]:
        """What the next step feeds: up to `most` tokens of the prompt, or the token said last."""
        return self.prompt[self.done : self.done + most] if self.reading else self.said[-1:]

    @property
    def history(self) -> list[int]:
        """Every token whose position the engine holds."""
        return [*self.prompt, *self.said][: self.done]

    def say(self, token: int, context: int, tokenizer: Tokenizer, now: float) -> tuple[str, Done | None]:
        """Take in a drawn token: the text it makes certain, and the end if this is it."""
        self.first_token = self.first_token or now
        self.last_token = now
        if tokenizer.is_end(token):
            return self.text.finish(), self._ended("eos")
        self.said.append(token)
        text = self.text.push(token)
        if self.text.stopped:
            return text, self._ended("stop")
        if len(self.said) >= self.request.max_tokens or len(self.prompt) + len(self.said) >= context:
            return text + self.text.finish(), self._ended("length")
        return text, None

    def _ended(self, reason: Literal["eos", "stop", "length"]) -> Done:
        first = self.first_token or self.last_token
        seconds = self.last_token - first
        rate = (len(self.said) - 1) / seconds if len(self.said) > 1 and seconds > 0 else None
        return Done(
            finish_reason="length" if reason == "length" else "stop",
            stop_reason=reason,
            usage=Usage(prompt_tokens=len(self.prompt), completion_tokens=len(self.said), cached_tokens=self.cached),
            timing=Timing(
                queue_ms=round((self.started - self.arrived) * 1000, 1),
                prefill_ms=round((first - self.started) * 1000, 1),
                decode_tok_s=rate and round(rate, 1),
            ),
        )
