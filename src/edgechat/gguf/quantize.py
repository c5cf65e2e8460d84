"""Write a model again in other tensor types, in a process of its own: llama.cpp's quantiser knows no cancel.

    recipe   IQ4_NL            llama.cpp's own mixture of that name
             IQ4_NL/IQ4_NL     the same body, and the head (the output matrix) in a type of its own
    source ─► header checked, size asked (dry run), room checked ─► child ─► target.part ─► target

In a small model with a large vocabulary the head is a quarter of all weights, and is read for every token.
"""

import asyncio
import re
import shutil
from collections import deque
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Self

import msgspec

from edgechat.errors import ConfigError, EngineFailed, NoSpace, UnknownName
from edgechat.gguf.header import TENSOR_TYPES, read_header
from edgechat.process import atomic
from edgechat.process.child import Child
from edgechat.process.disk import MARGIN, check_room, full
from edgechat.process.spawn import spawn
from edgechat.types import Struct

# What a body may be, by llama.cpp's llama_ftype, and a head, by its ggml_type.
BODIES = {
    "F16": 1, "BF16": 32, "Q8_0": 7, "Q6_K": 18, "Q5_K_M": 17, "Q5_K_S": 16, "Q5_0": 8, "Q5_1": 9, "Q4_K_M": 15,
    "Q4_K_S": 14, "Q4_0": 2, "Q4_1": 3, "IQ4_NL": 25, "IQ4_XS": 30, "Q3_K_L": 13, "Q3_K_M": 12, "Q3_K_S": 11,
    "Q2_K": 10,
}  # fmt: skip
HEADS = {name: id for id, (name, _, _) in TENSOR_TYPES.items() if not name.startswith(("I8", "I16", "I32", "F32"))}
WHOLE = frozenset({"F32", "F16", "BF16", "Q8_0"})  # types that lose nothing worth telling

_STEP = re.compile(r"\[\s*\d+/\s*\d+\][^\[]*\[([\d,\s]+)\]")
_SIZE = re.compile(r"quant size\s*=\s*([\d.]+) MiB")
_WHY = re.compile(r"failed to quantize: (.*)")


class Recipe(Struct, frozen=True):
    """The types to write: `body` one of BODIES, `head` one of HEADS or None for what the body's mixture has."""

    body: str
    head: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """The recipe that `text` writes as BODY or BODY/HEAD, in any case. Raises UnknownName."""
        body, slash, head = text.upper().partition("/")
        if body not in BODIES:
            raise UnknownName("quantisation", body, list(BODIES))
        if slash and head not in HEADS:
            raise UnknownName("type for the head", head, list(HEADS))
        return cls(body, head or None)

    def __str__(self) -> str:
        return f"{self.body}/{self.head}" if self.head else self.body


class Job(Struct, frozen=True):
    """The letter to the child (quantizer.py). A `head` of None is the body's own choice."""

    source: str
    target: str
    body: int
    head: int | None
    threads: int
    dry_run: bool


to_child = msgspec.msgpack.Decoder(Job)
from_child = msgspec.msgpack.Decoder(None)  # it answers in llama.cpp's own words, and by its exit status


async def quantize(
    source: Path,
    target: Path,
    recipe: Recipe,
    threads: int,
    allow_requantize: bool = False,
    tell: Callable[[float], None] | None = None,
) -> None:
    """Write the GGUF at `source` to `target` by `recipe`; `tell` hears the done fraction, from 0 to 1.

    Cancelled, it ends the child and leaves nothing; `target` appears only when it is whole. Raises ConfigError when
    the source is quantised below 8 bits already and `allow_requantize` is not set (every rounding is a loss more),
    ModelFileInvalid, NoSpace, EngineFailed.
    """
    header = await asyncio.to_thread(read_header, source)
    if header.quantisation not in WHOLE and not allow_requantize:
        raise ConfigError(
            f"the source is {header.quantisation} already, and rounding twice costs quality: take one in F16 or Q8_0, "
            "or say --allow-requantize."
        )
    head = HEADS[recipe.head] if recipe.head else None
    job = Job(str(source), str(target), BODIES[recipe.body], head, threads, dry_run=True)
    _check_room(target.parent, await _run(job))
    elements, done = max(sum(prod(tensor.shape) for tensor in header.tensors), 1), 0

    def step(line: str) -> None:
        nonlocal done
        if found := _STEP.search(line):
            done += prod(int(side) for side in found[1].split(","))
            if tell is not None:
                tell(min(done / elements, 1.0))

    with atomic.replacing(target, durable=False) as part:
        await _run(msgspec.structs.replace(job, target=str(part), dry_run=False), step)


def _check_room(folder: Path, said: list[str]) -> None:
    """Raise NoSpace if what the dry run said does not fit into `folder`."""
    sizes = [float(found[1]) for line in said if (found := _SIZE.search(line))]
    check_room(folder, int(sizes[-1] * (1 << 20)) if sizes else 0)


async def _run(job: Job, hear: Callable[[str], None] | None = None) -> list[str]:
    """One life of the child; returns the last lines it said."""
    child = await Child.of(spawn("edgechat.gguf.quantizer"), from_child)
    said: deque[str] = deque(maxlen=20)
    try:
        child.post(job)
        async for line in child.words():
            said.append(line)
            if hear is not None:
                hear(line)
        status = await child.wait()
    finally:
        await child.end()
    if status:
        raise _failure(job, status, list(said))
    return list(said)


def _failure(job: Job, status: int, said: list[str]) -> EngineFailed | NoSpace:
    """Our error for what the library said when it gave up."""
    why = next((found[1] for line in reversed(said) if (found := _WHY.search(line))), f"it ended with {status}")
    folder = Path(job.target).parent
    if "iostream error" in why and shutil.disk_usage(folder).free < MARGIN:
        return full(folder)
    return EngineFailed(f"llama.cpp could not quantise {Path(job.source).name}: {why[:200]}.")
