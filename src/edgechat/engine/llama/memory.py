"""One memory number: how many tokens fit beside the weights. Pure arithmetic over a GGUF's header.

    memory = process + vocabulary + weights + outputs + step buffers + sequences * running state
           + checkpoints * (running state, or sliding window) + cells * (KV + mask + attention buffer)

Sizes of buffers are those that llama.cpp 0.3.36 itself tells in a dry load; what a process takes beside them was
measured. Weights count once, wherever they lie: what llama.cpp copied into a layout of its own is given back where it
came from (pages.py), except for an embedding that is the head as well: its rows are still looked up there. What steps
read in the mapped file moves to huge pages (huge.py), and is nobody's where it came from.

Where layers keep a running state (states.py), llama.cpp allocates one for each sequence that there may be, and each is
as large as thousands of tokens: how many people are answered at once, and how many checkpoints are held, follows what
memory there is.
"""

import platform
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import NamedTuple

import psutil

from edgechat.engine.base import uncuttable
from edgechat.engine.fit import CONVERSATIONS, DEFAULT_CONTEXT, ENDLESS, fit
from edgechat.engine.llama import huge, pages, unsupported
from edgechat.errors import ConfigError
from edgechat.gguf.header import Header, Tensor, parts, read_header
from edgechat.gguf.shape import inner_width, kv_bytes, loaded, state_bytes, windowed_layers
from edgechat.types import ModelInfo

UBATCH = 128  # tokens computed at once; larger is hardly faster and costs memory
SEQUENCES = 32  # running and kept conversations; each costs about half a megabyte
ANSWERED = (8, 4, 2, 1)  # at once, where each has a running state: the most that there is memory for
CHECKPOINTS = (2, 6)  # of a conversation, and in its whole context beside them, or one in SPARSE tokens if that is less
SPARSE = 256
ON_ITS_WAY = 1  # running state that is copied, to the disk or back
EMBEDDING_CONTEXT = 512  # tokens of a text where nobody asked; they are computed at once

PROCESS = 44 << 20  # Python, numpy, the libraries, the books of the scheduler
PER_WORD = 340  # bytes of the vocabulary: a token's text, its merges, the ways to find them
EMBEDDING, HEAD = "token_embd.weight", "output.weight"
# Types that llama.cpp lays out anew, interleaved, where there are instructions for it. Our products of K-quants take
# those as they lie in the file.
REPACKED = frozenset(
    {"Q4_0", "IQ4_NL"} | ({"Q4_K", "Q8_0"} if platform.machine() in ("aarch64", "arm64") else {"Q2_K"})
)


class Room(NamedTuple):
    """How many sequences there are, and how many checkpoints of a running state are held beside them."""

    sequences: int = SEQUENCES
    checkpoints: int = 0

    @property
    def copies(self) -> int:
        """The checkpoints, and room for the next one, which is taken before it (states.py)."""
        return self.checkpoints + bool(self.checkpoints)


LEAST = Room(2, 2)  # of a running state, to answer anybody


class Planned(NamedTuple):
    """`Plan` of fit.py, and its room."""

    context: int
    cells: int
    bytes: int
    notes: tuple[str, ...]
    room: Room


def plan(header: Header, context: int, memory: int, flash: bool = True) -> Planned:
    """How many tokens fit. `context` 0 and `memory` 0 were not asked for; `flash` needs no attention buffer.

    Raises ConfigError when the asked context is more than the model knows, or nothing sensible fits: with the number
    that would; ModelUnsupported where no number would do.
    """
    unsupported.check(header)
    trained = header.context or DEFAULT_CONTEXT
    pools = embeds(header)
    if pools:
        context = context or min(EMBEDDING_CONTEXT, trained)
    elif header.is_recurrent and (not state_bytes(header) or header.number("wkv.head_size")):
        raise uncuttable(header.architecture)  # RWKV's answers change with the slices that llama.cpp reads a prompt in
    per_cell = cell_bytes(header, flash and not pools)
    wanted = context or min(trained, DEFAULT_CONTEXT)
    if pools or not (header.is_recurrent or 0 < window(header) < wanted):
        return Planned(*fit(trained, fixed_bytes(header), per_cell, context, memory), Room())
    for answered in ANSWERED:
        full = min(answered, CONVERSATIONS)
        room = Room(answered + 1, full * _checkpoints(wanted))
        with suppress(ConfigError):
            planned = fit(trained, fixed_bytes(header, room), per_cell, context, memory)
            if planned.cells >= full * planned.context and not planned.notes:
                return Planned(*planned, room)
    return Planned(*fit(trained, fixed_bytes(header, LEAST), per_cell, context, memory), LEAST)


def _checkpoints(context: int) -> int:
    """Of one conversation that fills its `context`."""
    least, most = CHECKPOINTS
    return least + min(most, context // SPARSE)


class Forecast:
    """A GGUF before it is loaded; `Forecast` of base.py."""

    def __init__(self, path: Path) -> None:
        self.header = read_header(path)

    def plan(self, context: int, memory: int, flash: bool = True) -> ModelInfo:
        return self._info(plan(self.header, context, max(memory, 1), flash))  # here, none left is none

    def describe(self, context: int) -> ModelInfo:
        trained = self.header.context or DEFAULT_CONTEXT
        return self._info(plan(self.header, min(context, trained), ENDLESS))

    def _info(self, planned: Planned) -> ModelInfo:
        header = self.header
        return ModelInfo(
            context=planned.context,
            cells=planned.cells,
            memory=planned.bytes,
            vocabulary=header.vocabulary,
            parameters=sum(prod(tensor.shape) for tensor in header.tensors),
            recipe=header.label,
            threads=0,
            engine="",
            notes=planned.notes,
            dimensions=(header.number("embedding_length") or 0) if embeds(header) else 0,
            family=header.architecture,
        )


def window(header: Header) -> int:
    """Tokens that some layers attend to at most; 0 where all attend to all."""
    return header.number("attention.sliding_window") or 0


def checkpoint_bytes(header: Header) -> int:
    """Bytes of a copy of what a sequence has at its end alone."""
    return state_bytes(header) or window(header) * (kv_bytes(header, windowed_layers(header)) or 0)


def growing(header: Header, planned: Planned) -> int:
    """Bytes of `planned` that are taken only as conversations grow."""
    room = planned.room
    states = (room.sequences + ON_ITS_WAY) * state_bytes(header) + room.copies * checkpoint_bytes(header)
    return planned.cells * (kv_bytes(header) or 0) + states


def embeds(header: Header) -> bool:
    """Whether the model pools what it reads into one vector: then it gives no answers."""
    return bool(header.number("pooling_type"))


def fixed_bytes(header: Header, room: Room | None = None) -> int:
    """Bytes that do not depend on the context; in the least `room` that answers anybody, if none is given."""
    room = room or (LEAST if header.is_recurrent else Room())
    weights = sum(tensor.size or 0 for tensor in loaded(header))
    again = sum(tensor.size or 0 for tensor in repacked(header) if tensor.name == EMBEDDING or not pages.MAPS.exists())
    outputs = room.sequences * header.vocabulary * 4
    step = UBATCH * 4 * max(5 * (header.number("embedding_length") or 0), 2 * inner_width(header))
    states = (1 if embeds(header) else room.sequences + ON_ITS_WAY) * state_bytes(header)
    states += room.copies * checkpoint_bytes(header)
    return PROCESS + header.vocabulary * PER_WORD + weights + again + outputs + max(outputs, step) + states


def cell_bytes(header: Header, flash: bool = True) -> int:
    """Bytes of one token's place: 16-bit KV, its column of the mask, without `flash` its attention buffer."""
    heads, kept = max(header.numbers("attention.head_count"), default=0) or 32, kv_bytes(header)
    return (1 << 18 if kept is None else kept) + UBATCH * (2 if flash else (heads + 1) * 4)


def repacked(header: Header) -> list[Tensor]:
    """The matrices that llama.cpp copies into a layout of its own. Rows of an embedding are looked up as they are."""
    is_tied = not any(tensor.name == HEAD for tensor in header.tensors)
    return [
        tensor
        for tensor in loaded(header)
        if len(tensor.shape) > 1 and tensor.type in REPACKED and (is_tied or tensor.name != EMBEDDING)
    ]


def give_back(header: Header, path: Path) -> int:
    """Give the pages back that were copied, of the model at `path`, which is loaded; returns their bytes."""
    given = 0
    for part, file in enumerate(parts(path)):
        copied = [tensor for tensor in repacked(header) if tensor.part == part and tensor.name != EMBEDDING]
        given += pages.give_back(file, ((tensor.offset, tensor.size or 0) for tensor in copied))
    return given


def enlarge(header: Header, path: Path) -> huge.Enlarging:
    """Begin to move to huge pages what every step reads in the mapped file: all but copies, and rows looked up."""
    elsewhere = {tensor.name for tensor in repacked(header)}
    if any(tensor.name == HEAD for tensor in header.tensors):
        elsewhere.add(EMBEDDING)
    read = [tensor for tensor in loaded(header) if tensor.name not in elsewhere]
    if sum(tensor.size or 0 for tensor in read) > psutil.virtual_memory().available:
        read = []  # the kernel could not keep the file beside it, and would read it again and again
    return huge.Enlarging(
        [
            area
            for part, file in enumerate(parts(path))
            for area in huge.areas(file, ((each.offset, each.size or 0) for each in read if each.part == part))
        ]
    )
