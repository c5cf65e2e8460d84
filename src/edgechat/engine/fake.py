"""A test double: an engine without a model, deterministic, scriptable, instant. Entered through the real registry.

Its "model" is a JSON file; every field may be left out:

    {"replies": {"hello": "Hi there."},   answer by the last user message (the exact text)
     "reply": "…",                        answer to everything else; default: an echo of the prompt's last line
     "step_ms": 0,                        time of every step
     "load_ms": 0, "load_fails": true,
     "context": 4096, "cells": 16384,     tokens of one conversation, and of all in memory
     "sequences": 32, "checkpoints": 8,   with that many checkpoints it has a running state, as a recurrent model does
     "memory": 1000, "later": 500,        bytes that it says it takes; and those of them that are not taken yet
     "template": "…",                     default: in the manner of ChatML
     "senses": ["picture"],               what it takes beside text; it reads that as nothing
     "dimensions": 8,                     it gives vectors of that many numbers, and no answers
     "fail_at": 5, "hang_at": 5, "exit_at": 5}    what happens after that many answer tokens

One token is one byte of UTF-8, so that half characters, half stop strings and their repair are everyday life here.
Control tokens are ids from 256 on, in the manner of ChatML. Where a guide forbids what it would say, it falls back on
the plainest text that is allowed, and says no more of its own.

Its running state is a checksum of all tokens that it came from. A step that goes on from any other fails: what a real
model would answer wrong, in silence, is loud here.

The vector of a picture's cell (fake_eyes.py) is that cell's made-up token: a cell that is read with another one's
vector fails, and so does a cut inside a picture.
"""

import math
import os
import struct
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

import msgspec

from edgechat.engine.base import Cuts, Guide, Progress, Slice
from edgechat.errors import ConfigError, EngineFailed, ModelFileInvalid
from edgechat.prompt.tokenizer import Tokenizer
from edgechat.types import Kind, Loading, ModelInfo, Sampling, Scored, Struct

END = 256
CELL = struct.Struct("<q")  # the vector of a picture's cell
PLAIN = b'"}]0nt{[:, '  # the letters of the plainest JSON
NO_TOKEN = 1 << 30  # no vocabulary has it
GONE = -1  # a position that was trimmed and not filled again
SPECIALS = {"<|im_end|>": END, "<|im_start|>": 257, "<|endoftext|>": 258}
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class Script(Struct, frozen=True):
    """What the fake does; see the head of this file."""

    replies: dict[str, str] = msgspec.field(default_factory=dict)
    reply: str | None = None
    step_ms: float = 0
    load_ms: float = 0
    load_fails: bool = False
    context: int = 4096
    cells: int | None = None
    sequences: int = 32
    checkpoints: int = 0
    spared: int = 0
    memory: int = 0
    later: int = 0
    takes: int = 0
    abort_on: str | None = None
    template: str = TEMPLATE
    senses: tuple[Kind, ...] = ()
    dimensions: int = 0
    fail_at: int | None = None
    hang_at: int | None = None
    exit_at: int | None = None
    lie_at: int | None = None


def read(path: Path) -> Script:
    """The script at `path`. Raises ModelFileInvalid."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Script)
    except (OSError, msgspec.DecodeError) as error:
        raise ModelFileInvalid(f"{path} is not a script for the fake engine: {error}.") from error


class Forecast:
    """A script before it is recited; `Forecast` of base.py."""

    def __init__(self, path: Path) -> None:
        self._script = read(path)

    def plan(self, context: int, memory: int, flash: bool = True) -> ModelInfo:
        del flash  # it attends to nothing
        if self._script.memory > memory:
            raise ConfigError(f"{memory} bytes of memory do not hold this script: it takes {self._script.memory}.")
        return self.describe(context)

    def describe(self, context: int) -> ModelInfo:
        return info(self._script, context, 0)


def info(script: Script, context: int, threads: int) -> ModelInfo:
    """What the script is as a model."""
    size = min(context or script.context, script.context)
    return ModelInfo(
        context=size,
        cells=script.cells or 4 * size,
        memory=script.memory,
        vocabulary=259,
        parameters=0,
        recipe="none",
        threads=threads,
        engine="fake",
        dimensions=script.dimensions,
        later=script.later,
        family="fake",
        senses=script.senses,
        patch=32 if "picture" in script.senses else 0,  # as fake_eyes.py sees
    )


class Bytes:
    """Tokenizer of bytes and three control tokens."""

    bos: int | None = None
    size = 259

    @property
    def added(self) -> dict[str, int]:
        return {}

    @property
    def specials(self) -> dict[str, int]:
        return SPECIALS

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def piece(self, token: int) -> bytes:
        return bytes([token]) if token < END else b""

    def is_end(self, token: int) -> bool:
        return token in (END, 258)


class Recital:
    """The tokens of one answer still to come."""

    def __init__(self, guide: Guide | None, top: int | None) -> None:
        self.rest: list[int] | None = None
        self.said = 0
        self.scored: Scored | None = None
        self._guide = guide
        self._top = top

    def draw(self) -> int:
        """The next token; it is the likeliest one, and those after it in the vocabulary follow."""
        token = self.rest.pop(0) if self.rest else END
        if self._guide is not None:
            token = self._guided(token, self._guide)
        self.said += 1
        if self._top is not None:
            others = [Scored(n % 256, bytes([n % 256]), -3.0 - n + token) for n in range(token + 1, token + self._top)]
            drawn = Scored(token, Bytes().piece(token), -0.1)
            self.scored = Scored(drawn.token, drawn.piece, drawn.logprob, (drawn, *others)[: self._top])
        return token

    def _guided(self, token: int, guide: Guide) -> int:
        mask = guide.mask()
        legal = [n for n in (token, END, *PLAIN, *range(256)) if mask[n // 8] >> n % 8 & 1]
        if legal[0] != token:
            self.rest = []
        guide.accept(legal[0])
        return int(legal[0])


class State(NamedTuple):
    """The running state after `length` tokens."""

    length: int = 0
    checksum: int = 0

    def after(self, tokens: Sequence[int]) -> Self:
        """What it is when it has read `tokens`, too."""
        data = struct.pack(f"<{len(tokens)}q", *tokens)
        return type(self)(self.length + len(tokens), zlib.crc32(data, self.checksum))


class Memory(Struct, frozen=True):
    """What a sequence holds, as it is saved."""

    cells: list[int]
    state: State


class Fake:
    """`Engine` of base.py that recites what its script says."""

    max_batch = 64

    def __init__(
        self,
        path: Path,
        context: int,
        memory: int,
        threads: int,
        progress: Progress,
        ubatch: int = 0,
        flash: bool = True,
    ) -> None:
        """`ubatch` and `flash` change nothing here but what it says of itself."""
        self.script = read(path)
        progress(Loading(stage="weights", fraction=0.5))
        time.sleep(self.script.load_ms / 1000)
        if self.script.load_fails:
            raise ModelFileInvalid(f"the fake engine does not take {path.name}, as its script says.")
        self.template: str | None = self.script.template
        self.tokenizer: Tokenizer = Bytes()
        engine = "fake" + f", {ubatch} tokens at once" * bool(ubatch) + ", no flash attention" * (not flash)
        self.info = msgspec.structs.replace(info(self.script, context, threads), engine=engine)
        self.sequences = self.script.sequences
        self.checkpoints, self.spared = self.script.checkpoints, self.script.spared
        self.cuts: Cuts = "checkpoints" if self.checkpoints else "anywhere"
        self._cells: dict[int, list[int]] = {}
        self._states: dict[int, State] = {}  # where it has any
        self._inner: set[int] = set()  # cells of pictures, but for their first ones
        self._ballast = b"\1" * min(self.script.takes, memory or self.script.takes)

    def sampler(self, sampling: Sampling, guide: Guide | None = None, top: int | None = None) -> Recital:
        del sampling  # it recites
        return Recital(guide, top)

    def step(self, batch: Sequence[Slice]) -> list[int | None]:
        time.sleep(self.script.step_ms / 1000)
        if sum(len(part.tokens) for part in batch) > self.max_batch:
            raise EngineFailed("the step is larger than the engine takes.")
        return [self._advance(part) for part in batch]

    def _advance(self, part: Slice) -> int | None:
        cells = self._cells.setdefault(part.seq, [])
        if len(cells) != part.start or GONE in cells:
            raise EngineFailed(f"sequence {part.seq} has {len(cells)} tokens, the slice starts at {part.start}.")
        self._look(part)
        if self.checkpoints:
            state = self._states.get(part.seq, State())
            if state != State().after(cells):
                raise EngineFailed(f"the state of sequence {part.seq} is not that of its {len(cells)} tokens.")
            self._states[part.seq] = state.after(part.tokens)
        cells.extend(part.tokens)
        recital = part.sampler
        if not isinstance(recital, Recital):
            return None
        if recital.rest is None:
            recital.rest = [*self._reply(cells).encode(), END]
        self._misbehave(recital.said)
        return NO_TOKEN if recital.said == self.script.lie_at else recital.draw()

    def _look(self, part: Slice) -> None:
        """Hold the vectors of a picture to its cells, and everything else to the vocabulary."""
        tokens = list(part.tokens)
        if part.glance is None:
            if any(token < 0 for token in tokens):
                raise EngineFailed(f"sequence {part.seq} has cells of a picture without their vectors.")
            return
        view, first = part.glance
        if tokens != [id for (id,) in CELL.iter_unpack(view.vectors)][first : first + len(tokens)]:
            raise EngineFailed(f"the vectors are not those of the cells of sequence {part.seq}.")
        self._inner |= set(view.cells[1:])

    def _check_cut(self, seq: int, *places: int | None) -> None:
        cells = self._cells.get(seq, [])
        if any(at is not None and at < len(cells) and cells[at] in self._inner for at in places):
            raise EngineFailed(f"sequence {seq} cannot be cut inside a picture.")

    def _reply(self, cells: list[int]) -> str:
        turns = _text(cells).split("<|im_start|>user\n")
        said = turns[-1].partition("<|im_end|>")[0]
        if self.script.abort_on is not None and self.script.abort_on in said:
            os.abort()
        if said in self.script.replies:
            return self.script.replies[said]
        return f"You said: {said}" if self.script.reply is None else self.script.reply

    def _misbehave(self, said: int) -> None:
        if said == self.script.fail_at:
            raise EngineFailed("the fake engine failed, as its script says.")
        if said == self.script.hang_at:
            time.sleep(3600)
        if said == self.script.exit_at:
            os._exit(9)

    def trim(self, seq: int, start: int = 0, end: int | None = None) -> None:
        cells = self._cells.setdefault(seq, [])
        self._check_cut(seq, start, end)
        stop = len(cells) if end is None else min(end, len(cells))
        if self.checkpoints and 0 < start < stop == len(cells):
            raise EngineFailed(f"the end of sequence {seq} cannot be cut off: it has a running state.")
        if start == 0 and stop == len(cells):
            self._states.pop(seq, None)
        for at in range(start, stop):
            cells[at] = GONE
        while cells and cells[-1] == GONE:
            cells.pop()

    def share(self, source: int, target: int, start: int, end: int, checkpoint: bytes | None = None) -> None:
        self._check_cut(source, start, end)
        held, into = self._cells.get(source, [])[start:end], self._cells.setdefault(target, [])
        if len(held) < end - start or GONE in held:
            raise EngineFailed(f"sequence {source} does not hold {start} to {end}.")
        into.extend([GONE] * (end - len(into)))
        into[start:end] = held
        if self.checkpoints:
            found = self._states.get(source, State())
            self._states[target] = found if checkpoint is None else msgspec.msgpack.decode(checkpoint, type=State)

    def checkpoint(self, seq: int) -> bytes:
        if not self.checkpoints:
            raise EngineFailed("there is no running state here.")
        return msgspec.msgpack.encode(self._states.get(seq, State()))

    def save(self, seq: int) -> bytes:
        return msgspec.msgpack.encode(Memory(self._cells.get(seq, []), self._states.get(seq, State())))

    def restore(self, seq: int, state: bytes) -> bool:
        if self._cells.get(seq):
            raise EngineFailed(f"sequence {seq} is not empty.")
        try:
            saved = msgspec.msgpack.decode(state, type=Memory)
        except msgspec.DecodeError:
            return False
        self._cells[seq], self._states[seq] = saved.cells, saved.state
        return True

    def set_threads(self, count: int) -> None:
        del count

    def close(self) -> None:
        self._cells.clear()
        self._states.clear()


def _text(tokens: Sequence[int]) -> str:
    names = {token: text for text, token in SPECIALS.items()}
    data, before = b"", 0
    for token in tokens:
        if token >= 0:
            data += names[token].encode() if token in names else bytes([token])
        elif before >= 0:
            data += b"picture %04x" % (-token & 0xFFFF)
        before = token
    return data.decode(errors="replace")


class FakeEmbedder:
    """`Embedder` of base.py: how often each byte occurs, modulo the script's `dimensions`."""

    def __init__(self, path: Path, context: int, memory: int, threads: int, progress: Progress) -> None:
        del memory, progress
        self.tokenizer: Tokenizer = Bytes()
        self.info = info(read(path), context, threads)

    def tokens(self, text: str) -> list[int]:
        return self.tokenizer.encode(text)

    def embed(self, tokens: Sequence[int]) -> bytes:
        counts = [0.0] * self.info.dimensions
        for token in tokens:
            counts[token % len(counts)] += 1
        length = math.hypot(*counts) or 1.0
        return struct.pack(f"<{len(counts)}f", *(count / length for count in counts))

    def set_threads(self, count: int) -> None:
        del count
