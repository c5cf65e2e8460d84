"""What an engine is: it speaks tokens, one step at a time, and knows nothing of text, people or queues.

    load → Engine ── sampler(sampling, guide, top) → Sampler
                  ── step([Slice …])   → one forward pass; a token for every slice that asks for one
                  ── trim, share, checkpoint, save, restore: what sequences hold

Exactly one thread calls an engine, except for `tokenizer`, which any thread may read.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from edgechat.errors import ModelUnsupported
from edgechat.prompt.sight import Sight, View
from edgechat.prompt.tokenizer import Tokenizer
from edgechat.types import Loading, ModelInfo, Sampling, Scored

if TYPE_CHECKING:  # a fifth of a worker's start, for those who need it
    import numpy as np
    from numpy.typing import NDArray

Progress = Callable[[Loading], None]

# Where a conversation may branch off from another one. Attention keeps keys and values of every token: anywhere. Layers
# that keep a running state beside them, or alone (recurrent and hybrid models), hold one state, that of the sequence's
# end: only there, and where a copy of the state was kept.
Cuts = Literal["anywhere", "checkpoints"]


def uncuttable(architecture: str) -> ModelUnsupported:
    """Why a model is refused whose memory cannot be cut: what it answers would change with how it is read."""
    return ModelUnsupported(
        f"models of architecture {architecture} are not served: they keep a running state that cannot be cut or shared "
        "here without changing answers. Choose another model."
    )


class Guide(Protocol):
    """What an answer has to follow, and how far it is."""

    def mask(self) -> bytes:
        """A bit for each token of the vocabulary, the least significant first: whether it may come next."""
        ...

    def accept(self, token: int) -> None:
        """The token that was drawn."""
        ...


class Sampler(Protocol):
    """Draws the tokens of one answer, and remembers what it drew where penalties need it."""

    scored: Scored | None  # the token drawn last, where log probabilities were asked for


class Glance(NamedTuple):
    """A part of a view: its cells from number `first` on."""

    view: View
    first: int


class Slice(NamedTuple):
    """A part of one step's batch: `tokens` of sequence `seq`, before which it holds `start`.

    With a `sampler`, the token after the last one is drawn. With a `glance` the tokens are cells of a view, and its
    vectors are read in their place.
    """

    seq: int
    start: int
    tokens: Sequence[int]
    sampler: Sampler | None = None
    glance: Glance | None = None


class Pixels(Protocol):
    """A picture, decoded: `rgb` has three bytes for each of `width` × `height` pixels, row by row."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def rgb(self) -> bytes: ...


class Forecast(Protocol):
    """What is known of a model file before it is loaded. Made from its path; raises ModelFileInvalid.

    Both raise ModelUnsupported where it tells already that the engine would refuse the model.
    """

    def plan(self, context: int, memory: int, flash: bool = True) -> ModelInfo:
        """What loading it within `memory` bytes would give; `context` 0 takes what is sensible.

        Without `flash` a llama.cpp model needs a buffer for attention.

        `notes` tell what would be smaller than it could be. Raises ConfigError, with the number that would fit.
        """
        ...

    def describe(self, context: int) -> ModelInfo:
        """The same on a machine that has all the memory there is."""
        ...


class Engine(Protocol):
    """A loaded model, and the memory of its sequences. One whose memory cannot be cut is refused at load.

    What sequences hold is the caller's to know. All places are counted in tokens and cells; which positions these have
    is the engine's to know. A view is cut nowhere but at its ends. Where the engine says no to a trim or a share,
    nobody knows any more: EngineFailed, and every sequence is trimmed whole before the next step.
    """

    info: ModelInfo
    cuts: Cuts
    checkpoints: int  # how many the plan of memory has room for; 0 where memory can be cut anywhere
    tokenizer: Tokenizer
    template: str | None  # the model's own chat template, Jinja

    def sampler(self, sampling: Sampling, guide: Guide | None = None, top: int | None = None) -> Sampler:
        """A sampler for one answer, which follows `guide` and scores its tokens and `top` alternatives, None for none.

        Scores are those of the model, before bias, penalties, guide and temperature.
        """
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

    @property
    def sequences(self) -> int:
        """How many sequences there are, numbered from 0. Together they hold at most `info.cells` tokens."""
        ...

    @property
    def spared(self) -> int:
        """Cells that nobody of a step looks at, and beside which it is hardly slower."""
        ...

    def trim(self, seq: int, start: int = 0, end: int | None = None) -> None:
        """`seq` forgets what it holds from `start` to `end`, None being its end. Cells nobody else shares are free.

        Raises EngineFailed where the engine does not cut there: with `cuts` "checkpoints" no end can be cut off. To
        forget all always works, whatever `seq` holds.
        """
        ...

    def share(self, source: int, target: int, start: int, end: int, checkpoint: bytes | None = None) -> None:
        """`target` holds what `source` holds from `start` to `end`, in the same cells.

        With `cuts` "checkpoints" it also gets a running state: `checkpoint`, which was taken where `target` ends now,
        or else that of the end of `source`.

        Raises EngineFailed where `source` does not hold that, or lets the step say so that goes on from `end`: then
        the cells are not there, or the running state is that of another place.
        """
        ...

    def checkpoint(self, seq: int) -> bytes:
        """The running state at the end of `seq`, without its cells. Raises EngineFailed, too where there is none."""
        ...

    def save(self, seq: int) -> bytes:
        """The state of `seq`, for `restore` of an engine with the same model and build. Raises EngineFailed."""
        ...

    def restore(self, seq: int, state: bytes) -> bool:
        """Make the empty `seq` what it was when `state` was saved.

        False if the engine does not take it: then `seq` may hold a part, and is to be trimmed whole.
        """
        ...

    def set_threads(self, count: int) -> None:
        """How many threads compute the next steps."""
        ...

    def close(self) -> None:
        """Free the model."""
        ...


class Scorer(Engine, Protocol):
    """An engine that shows what it thinks of every next token: what tuning and correctness are judged by."""

    def settle(self) -> None:
        """Wait until steps are as fast as they will be: what was begun at the start beside them is done."""
        ...

    def logits(self, seq: int, start: int, tokens: Sequence[int]) -> "NDArray[np.float32]":
        """Feed `tokens` to `seq` from position `start`; (tokens, vocabulary) logits, one row after each token.

        At most `sequences` tokens at once. Raises EngineFailed.
        """
        ...


class Embedder(Protocol):
    """A loaded model that gives vectors instead of answers. One thread calls it."""

    info: ModelInfo

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's own."""
        ...

    def tokens(self, text: str) -> list[int]:
        """`text` as the model wants to read it, with the control tokens that it expects around a text."""
        ...

    def embed(self, tokens: Sequence[int]) -> bytes:
        """The vector of at most `info.context` tokens: 32-bit floats, of length 1. Raises EngineFailed."""
        ...

    def set_threads(self, count: int) -> None:
        """How many threads compute."""
        ...


class Eyes(Protocol):
    """A loaded projector: what encodes pictures for one model. One thread calls it."""

    def see(self, pixels: Pixels, threads: int, goes_on: Callable[[float | None], bool]) -> Sight | None:
        """Encode a picture on `threads`; `goes_on` is asked now and then, with the share done where that is known.

        None where it said no. Raises InvalidRequest for pixels that it cannot take, EngineFailed.
        """
        ...


def digest_of(pixels: Pixels) -> str:
    """What tells a picture from any other: the SHA-256 of its size and its pixels."""
    found = hashlib.sha256(f"{pixels.width} {pixels.height} ".encode())
    found.update(pixels.rgb)
    return found.hexdigest()


def made_up(key: str, count: int) -> Iterator[int]:
    """Token ids below zero for the `count` cells of the picture that `key` names: of 62 bits of a hash each."""
    for cell in range(count):
        yield -1 - (int.from_bytes(hashlib.sha256(f"{key} {cell}".encode()).digest()[:8]) >> 2)
