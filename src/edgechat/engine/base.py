"""What an engine is: it speaks tokens, one step at a time, and knows nothing of text, people or queues.

    load → Engine ── sampler(sampling) → Sampler
                  ── step([Slice …])   → one forward pass; a token for every slice that asks for one
                  ── trim(seq, n)      → the sequence is n tokens long again

Exactly one thread calls an engine, except for `tokenizer`, which any thread may read.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from edgechat.types import Loading, ModelInfo, Sampling, Tokenizer

Progress = Callable[[Loading], None]


class Sampler(Protocol):
    """Draws the tokens of one answer, and remembers what it drew where penalties need it."""

    def close(self) -> None:
        """Free what it holds."""
        ...


class Slice(NamedTuple):
    """A part of one step's batch: `tokens` of sequence `seq`, the first at position `start`.

    With a `sampler`, the token after the last one is drawn.
    """

    seq: int
    start: int
    tokens: Sequence[int]
    sampler: Sampler | None = None


class Engine(Protocol):
    """A loaded model."""

    info: ModelInfo
    tokenizer: Tokenizer
    template: str | None  # the model's own chat template, Jinja

    def sampler(self, sampling: Sampling) -> Sampler:
        """A sampler for one answer."""
        ...

    def step(self, batch: Sequence[Slice]) -> list[int | None]:
        """Run one forward pass over `batch` (at most `max_batch` tokens).

        Returns one drawn token per slice, None for a slice without a sampler. Raises EngineFailed.
        """
        ...

    @property
    def max_batch(self) -> int:
        """Most tokens of one step."""
        ...

    def trim(self, seq: int, length: int) -> None:
        """Forget the positions of `seq` from `length` on."""
        ...

    def close(self) -> None:
        """Free the model."""
        ...
