"""A model as a folder of safetensors: what its headers tell before anything is loaded. Reads no weights, runs no code.

config.json            shape: layers, heads, trained context
*.safetensors          8 bytes of length, a JSON header with every tensor's type and shape, then the weights
pytorch_model*.bin     only where there are no safetensors: their size alone is looked at here
"""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import msgspec

from edgechat.engine.fit import ENDLESS, Plan, fit
from edgechat.errors import ModelFileInvalid
from edgechat.types import ModelInfo

MOST_JSON = 64 << 20  # bytes of a header: a large model has thousands of tensors
MOST_COUNT = 1 << 31  # layers, heads, words, …
FLOAT32 = 4  # bytes
PROCESS = 420 << 20  # Python, PyTorch and transformers
CONVERSATIONS = 8  # sequences, each with a cache of its own
PIECE = 512  # prompt tokens of a step
TYPES = {"F64", "F32", "F16", "BF16"}  # of weights that can be computed with as they are


class Shape(msgspec.Struct, frozen=True):
    """What config.json tells of the model's shape."""

    num_hidden_layers: int
    num_attention_heads: int
    hidden_size: int
    vocab_size: int
    max_position_embeddings: int
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    tie_word_embeddings: bool = False

    @property
    def possible(self) -> bool:
        """Whether such a model can be: all that is counted is there, and there is no more than a header may claim."""
        counts = [self.num_hidden_layers, self.num_attention_heads, self.hidden_size, self.vocab_size]
        counts += [self.max_position_embeddings, self.head_dim or 1, self.num_key_value_heads or 1]
        return min(counts) > 0 and max(counts) < MOST_COUNT and self.cell > 0

    @property
    def cell(self) -> int:
        """Bytes of one token's keys and values."""
        width = self.head_dim or self.hidden_size // self.num_attention_heads
        return 2 * self.num_hidden_layers * (self.num_key_value_heads or self.num_attention_heads) * width * FLOAT32


class Snapshot(msgspec.Struct, frozen=True):
    """A folder's headers. `safe`: its weights are safetensors."""

    shape: Shape
    weights: int
    safe: bool

    def plan(self, context: int, memory: int) -> Plan:
        """How many tokens fit beside float32 weights; see fit.py."""
        shape = self.shape
        buffers = PIECE * shape.hidden_size * FLOAT32 * 16 + shape.vocab_size * FLOAT32 * 4
        fixed = PROCESS + self.weights * FLOAT32 + buffers
        return fit(shape.max_position_embeddings, fixed, shape.cell, context, memory, CONVERSATIONS)


def read(folder: Path) -> Snapshot:
    """The headers in `folder`. Raises ModelFileInvalid, one line, where it is no such model."""
    if not folder.is_dir():
        raise ModelFileInvalid(f"{folder.name} is no folder with config.json and safetensors, which this engine takes.")
    try:
        shape = msgspec.json.decode(_head(folder / "config.json"), type=Shape)
        files = sorted(folder.glob("*.safetensors"))
        weights = sum(prod(one) for file in files for one in _shapes(file))
        if not files:  # half precision at the least: the count errs to the large side
            weights = sum(file.stat().st_size for file in folder.glob("pytorch_model*.bin")) // 2
    except OSError as error:
        raise ModelFileInvalid(f"{Path(str(error.filename)).name} cannot be read: {error.strerror}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, AttributeError, TypeError) as error:
        raise ModelFileInvalid(f"{folder.name} is no model of layers with attention: {error}.") from error
    if weights <= 0 or not shape.possible:
        raise ModelFileInvalid(f"{folder.name} has no weights, or a shape that cannot be.")
    return Snapshot(shape, weights, bool(files))


def _shapes(path: Path) -> Iterator[list[int]]:
    """The shape of every tensor in a safetensors file."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= min(MOST_JSON, path.stat().st_size):
            raise ModelFileInvalid(f"{path.name} is no safetensors file.")
        header: dict[str, dict[str, Any]] = msgspec.json.decode(file.read(length))
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        if tensor.get("dtype") not in TYPES:
            raise ModelFileInvalid(f"{path.name}: {name} is {tensor.get('dtype')}: only float weights can be computed.")
        yield msgspec.convert(tensor.get("shape"), list[int])


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MOST_JSON)


class Forecast:
    """A folder before it is loaded; `Forecast` of base.py."""

    def __init__(self, path: Path) -> None:
        self._snapshot = read(path)

    def plan(self, context: int, memory: int, flash: bool = True) -> ModelInfo:
        del flash  # PyTorch chooses
        return info(self._snapshot, self._snapshot.plan(context, max(memory, 1)))  # here, none left is none

    def describe(self, context: int) -> ModelInfo:
        trained = self._snapshot.shape.max_position_embeddings
        return info(self._snapshot, self._snapshot.plan(min(context, trained), ENDLESS))


def info(snapshot: Snapshot, planned: Plan, threads: int = 0, engine: str = "") -> ModelInfo:
    """What the folder is as a model."""
    return ModelInfo(
        context=planned.context,
        cells=planned.cells,
        memory=planned.bytes,
        vocabulary=snapshot.shape.vocab_size,
        parameters=snapshot.weights,
        recipe="F32",
        threads=threads,
        engine=engine,
        notes=planned.notes,
    )
