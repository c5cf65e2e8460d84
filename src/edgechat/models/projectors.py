"""Projectors (multimodal encoders): files that let a model see, beside the model's own.

    model.gguf + mmproj-….gguf ─► senses: picture          its head is read now; it is loaded for the first picture

Served are those that llama.cpp reads in one direction: their pictures are read in slices, beside others' answers.
"""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import msgspec

from edgechat.engine import base
from edgechat.errors import ModelError, ModelFileInvalid, ModelUnsupported
from edgechat.gguf.header import read_header
from edgechat.prompt import senses
from edgechat.types import ModelInfo

PREFIX = "mmproj"
BOTH_WAYS = frozenset({"gemma3", "gemma3nv", "gemma4v", "gemma4uv"})  # a picture's cells look at those after them, too
PROCESS = 192 << 20  # bytes beside the file: Python, libraries, vocabulary, a picture being encoded, those seen before


class Projector(NamedTuple):
    """A projector that is served. `digest` tells it from any other file, `bytes` are what it takes in memory.

    `patch` is how many pixels on a side a token stands for; 0 where its header does not say.
    """

    path: Path
    digest: str
    bytes: int
    patch: int


def of(companions: tuple[Path, ...]) -> Projector | None:
    """The projector among a model's `companions`, if there is one that is served."""
    for file in companions:
        if file.name.lower().startswith(PREFIX):
            try:
                return read(file)
            except ModelError:
                return None
    return None


def read(file: Path) -> Projector:
    """The projector at `file`. Raises ModelFileInvalid where it is none, ModelUnsupported where it is not served."""
    try:
        about = file.stat()
    except OSError as error:
        raise ModelFileInvalid(f"{file} cannot be read: {error.strerror}.") from error
    return _read(file, about.st_size, about.st_mtime_ns)


@lru_cache(64)
def _read(file: Path, size: int, written: int) -> Projector:
    metadata = read_header(file).metadata
    if metadata.get("general.architecture") != "clip" or not metadata.get("clip.has_vision_encoder"):
        raise ModelFileInvalid(f"{file.name} is no projector of pictures.")
    kind = metadata.get("clip.vision.projector_type") or metadata.get("clip.projector_type")
    if kind in BOTH_WAYS:
        raise ModelUnsupported(
            f"{file.name} is a projector of the kind {kind}, whose pictures are read in both directions at once: "
            "they are not served."
        )
    digest = hashlib.sha256(f"{file.resolve()} {size} {written}".encode()).hexdigest()
    side, merged = metadata.get("clip.vision.patch_size"), metadata.get("clip.vision.spatial_merge_size")
    patch = side * merged if isinstance(side, int) and isinstance(merged, int) else 0
    return Projector(file, digest, size + PROCESS, patch)


def with_eyes(info: ModelInfo, projector: Projector) -> ModelInfo:
    """A model that sees, with a projector whose bytes are taken once the first picture comes."""
    memory, later = info.memory + projector.bytes, info.later + projector.bytes
    return msgspec.structs.replace(info, senses=senses.EYES, patch=projector.patch, memory=memory, later=later)


class Forecast:
    """A model and its projector before they are loaded; `Forecast` of engine/base.py."""

    def __init__(self, model: base.Forecast, projector: Projector) -> None:
        self._model = model
        self._projector = projector

    def plan(self, context: int, memory: int, flash: bool = True) -> ModelInfo:
        taken = self._projector.bytes
        return with_eyes(self._model.plan(context, max(1, memory - taken), flash), self._projector)

    def describe(self, context: int) -> ModelInfo:
        return with_eyes(self._model.describe(context), self._projector)
