"""Projectors (multimodal encoders): files that let a model see, beside the model's own.

    model.gguf + mmproj-….gguf ─► senses: picture          its head is read now; it is loaded for the first picture

Served are those that llama.cpp reads in one direction: their pictures are read in slices, beside others' answers.
"""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from edgechat.engine import base
from edgechat.errors import ModelError, ModelFileInvalid, ModelUnsupported
from edgechat.gguf.header import read_header
from edgechat.prompt import senses
from edgechat.prompt.sight import SHARPEST
from edgechat.types import ModelInfo

PREFIX = "mmproj"
JOINTS = {  # the matrix whose rows are as wide as the model, by the kind of projector
    "qwen2vl_merger": "mm.2.weight",
    "qwen2.5vl_merger": "mm.2.weight",
    "qwen3vl_merger": "mm.2.weight",
    "lfm2": "mm.2.weight",
    "idefics3": "mm.model.fc.weight",
    "internvl": "mm.model.mlp.3.weight",
}
BOTH_WAYS = frozenset({"gemma3", "gemma3nv", "gemma4v", "gemma4uv"})  # a picture's cells look at those after them, too
PROCESS = 192 << 20  # bytes beside the file: Python, libraries, vocabulary, pictures seen before
PASSING = 6  # bytes of a number within the tower while the sharpest picture is encoded: 4, and half as much beside it
MERGED = 4  # patches on a side of a cell, where the header does not say: as many as in any that is served


class Projector(NamedTuple):
    """A projector that is served. `digest` tells it from any other file, `bytes` are what it takes in memory.

    `patch` is how many pixels on a side a token stands for, `width` how many numbers; 0 where its header does not say.
    """

    path: Path
    digest: str
    bytes: int
    patch: int
    width: int


def of(model: Path, companions: tuple[Path, ...]) -> Projector | None:
    """The projector among the `companions` of `model`, if there is one that is served."""
    for file in companions:
        if file.name.lower().startswith(PREFIX):
            try:
                return read(file, model)
            except ModelError:
                return None
    return None


def read(file: Path, model: Path) -> Projector:
    """The projector at `file`, for `model`.

    Raises ModelFileInvalid where it is none, ModelUnsupported where it is not served, or not with that model.
    """
    try:
        about, other = file.stat(), model.stat()
    except OSError as error:
        raise ModelFileInvalid(f"{error.filename} cannot be read: {error.strerror}.") from error
    found = _read(file, about.st_size, about.st_mtime_ns)
    width = _width(model, other.st_size, other.st_mtime_ns)
    if found.width and width and found.width != width:
        raise ModelUnsupported(
            f"{file.name} is for models of width {found.width}, {model.name} has {width}: it belongs to another one."
        )
    return found


@lru_cache(64)
def _read(file: Path, size: int, written: int) -> Projector:
    header = read_header(file)
    metadata = header.metadata
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
    feed = metadata.get("clip.vision.feed_forward_length")
    cells = SHARPEST * (merged if isinstance(merged, int) else MERGED) ** 2
    taken = size + PROCESS + PASSING * cells * (feed if isinstance(feed, int) else 0)
    shapes = (tensor.shape for tensor in header.tensors if tensor.name == JOINTS.get(str(kind)))
    return Projector(file, digest, taken, patch, next((shape[-1] for shape in shapes), 0))


@lru_cache(64)
def _width(model: Path, size: int, written: int) -> int:
    """How wide the model at `model` is; 0 for what is no GGUF, and not llama.cpp's to read."""
    del size, written
    try:
        return read_header(model).number("embedding_length") or 0
    except ModelFileInvalid:
        return 0


class Forecast:
    """A model and its projector before they are loaded; `Forecast` of engine/base.py."""

    def __init__(self, model: base.Forecast, projector: Projector) -> None:
        self._model = model
        self._projector = projector

    def plan(self, context: int, memory: int, flash: bool = True) -> ModelInfo:
        return self._with_eyes(self._model.plan(context, max(1, memory - self._projector.bytes), flash))

    def describe(self, context: int) -> ModelInfo:
        return self._with_eyes(self._model.describe(context))

    def _with_eyes(self, info: ModelInfo) -> ModelInfo:
        return senses.with_eyes(info, self._projector.bytes, self._projector.patch)
