"""One memory number: how many tokens fit beside the weights. Pure arithmetic over a GGUF's header.

    memory = process + vocabulary + weights + outputs + step buffers + cells * (KV + mask + attention buffer)

Sizes of buffers are those that llama.cpp 0.3.36 itself tells in a dry load; what a process takes beside them was
measured. Weights count once, wherever they lie: what llama.cpp copied into a layout of its own is given back where it
came from (pages.py), except for an embedding that is the head as well: its rows are still looked up there.
"""

import platform
from math import prod
from pathlib import Path
from typing import NamedTuple

import psutil

from edgechat import gguf, machine
from edgechat.engine import pages
from edgechat.errors import ConfigError
from edgechat.gguf import Header, Tensor
from edgechat.types import ModelInfo

UBATCH = 128  # tokens computed at once; larger is hardly faster and costs memory
SEQUENCES = 32  # running and kept conversations; each costs about half a megabyte
DEFAULT_CONTEXT = 4096  # where nobody asked: a trained context of 32k would cost gigabytes
EMBEDDING_CONTEXT = 512  # tokens of a text where nobody asked; they are computed at once
CONVERSATIONS = 4  # full ones that are held at once where memory allows
DEFAULT_SHARE = 0.5  # of the memory that is free, where nobody named a number
LEAST_CONTEXT = 256
ENDLESS = 1 << 62  # bytes: no bound

PROCESS = 44 << 20  # Python, numpy, the libraries, the books of the scheduler
PER_WORD = 340  # bytes of the vocabulary: a token's text, its merges, the ways to find them
EMBEDDING, HEAD = "token_embd.weight", "output.weight"
# Types that llama.cpp lays out anew, interleaved, where there are instructions for it.
REPACKED = frozenset(
    {"Q4_0", "IQ4_NL", "Q4_K"} | ({"Q8_0"} if platform.machine() in ("aarch64", "arm64") else {"Q2_K"})
)


class Plan(NamedTuple):
    """`context` tokens a conversation, `cells` tokens in all, about `bytes` of memory; `notes` tell what was cut."""

    context: int
    cells: int
    bytes: int
    notes: tuple[str, ...]


def plan(header: Header, context: int, memory: int, flash: bool = True) -> Plan:
    """How many tokens fit. `context` 0 and `memory` 0 were not asked for; `flash` needs no attention buffer.

    Raises ConfigError when the asked context is more than the model knows, or nothing sensible fits: with the number
    that would.
    """
    trained = header.context or DEFAULT_CONTEXT
    if embeds(header):
        context = context or min(EMBEDDING_CONTEXT, trained)
    per_cell = cell_bytes(header, flash and not embeds(header))
    return fit(trained, fixed_bytes(header), per_cell, context, memory)


def fit(trained: int, fixed: int, per_cell: int, context: int, memory: int, conversations: int = CONVERSATIONS) -> Plan:
    """The same for a model that takes `fixed` bytes and `per_cell` for each token, and knows `trained` tokens."""
    if context > trained:
        raise ConfigError(f"--context {context}: this model was trained for {trained} tokens; take at most that.")
    wanted = context or min(trained, DEFAULT_CONTEXT)
    limit = memory or int(free_memory() * DEFAULT_SHARE)
    fitting = (limit - fixed) // per_cell // 64 * 64
    if fitting >= wanted:
        cells = min(fitting, wanted * conversations)
        return Plan(wanted, cells, fixed + cells * per_cell, ())
    needed = fixed + per_cell * (wanted if context else min(wanted, LEAST_CONTEXT))
    if context or fitting < LEAST_CONTEXT:
        what = f"a context of {wanted if context else LEAST_CONTEXT}"
        raise ConfigError(
            f"{_size(limit)} of memory do not hold this model with {what}: it takes --memory {_size(needed)}."
        )
    note = f"context {fitting} instead of {wanted}: {_size(limit)} of memory hold no more"
    return Plan(fitting, fitting, fixed + fitting * per_cell, (note,))


class Forecast:
    """A GGUF before it is loaded; `Forecast` of base.py."""

    def __init__(self, path: Path) -> None:
        self.header = gguf.read_header(path)

    def plan(self, context: int, memory: int, flash: bool = True) -> ModelInfo:
        return self._info(plan(self.header, context, max(memory, 1), flash))  # here, none left is none

    def describe(self, context: int) -> ModelInfo:
        trained = self.header.context or DEFAULT_CONTEXT
        return self._info(plan(self.header, min(context, trained), ENDLESS))

    def _info(self, planned: Plan) -> ModelInfo:
        header = self.header
        return ModelInfo(
            context=planned.context,
            cells=planned.cells,
            memory=planned.bytes,
            vocabulary=header.vocabulary,
            parameters=sum(prod(tensor.shape) for tensor in header.tensors),
            recipe=header.quantisation,
            threads=0,
            engine="",
            notes=planned.notes,
            dimensions=(header.number("embedding_length") or 0) if embeds(header) else 0,
        )


def embeds(header: Header) -> bool:
    """Whether the model pools what it reads into one vector: then it gives no answers."""
    return bool(header.number("pooling_type"))


def free_memory() -> int:
    """Bytes that a new process may take here."""
    return min(int(psutil.virtual_memory().available), machine.memory_limit())


def fixed_bytes(header: Header) -> int:
    """Bytes that do not depend on the context."""
    weights = sum(tensor.size or 0 for tensor in header.tensors)
    again = sum(tensor.size or 0 for tensor in repacked(header) if tensor.name == EMBEDDING or not pages.MAPS.exists())
    outputs = SEQUENCES * header.vocabulary * 4
    width, inner = header.number("embedding_length") or 0, header.number("feed_forward_length") or 0
    step = UBATCH * 4 * max(5 * width, 2 * inner)
    return PROCESS + header.vocabulary * PER_WORD + weights + again + outputs + max(outputs, step)


def cell_bytes(header: Header, flash: bool = True) -> int:
    """Bytes of one token's place: 16-bit KV, its column of the mask, without `flash` its attention buffer."""
    heads = header.number("attention.head_count") or 32
    return (header.kv_bytes_per_token or 1 << 18) + UBATCH * (2 if flash else (heads + 1) * 4)


def repacked(header: Header) -> list[Tensor]:
    """The matrices that llama.cpp copies into a layout of its own. Rows of an embedding are looked up as they are."""
    is_tied = not any(tensor.name == HEAD for tensor in header.tensors)
    return [
        tensor
        for tensor in header.tensors
        if len(tensor.shape) > 1 and tensor.type in REPACKED and (is_tied or tensor.name != EMBEDDING)
    ]


def give_back(header: Header, path: Path) -> int:
    """Give the pages back that were copied, of the model at `path`, which is loaded; returns their bytes."""
    given = 0
    for part, file in enumerate(gguf.parts(path)):
        copied = [tensor for tensor in repacked(header) if tensor.part == part and tensor.name != EMBEDDING]
        given += pages.give_back(file, ((tensor.offset, tensor.size or 0) for tensor in copied))
    return given


def _size(count: int) -> str:
    return f"{count / 1e9:.2f}GB"
