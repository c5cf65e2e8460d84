"""A GGUF file's header, read within hard bounds.

The file is untrusted. This reader allocates nothing that the file's numbers ask for, never recurses, and checks that
every tensor lies inside the file, so that a cut or forged file is named before the engine maps it. Its bounds hold for
the whole header, not for one value only: however a header is made up, it is read or refused in well under a second.

    magic "GGUF" · version · tensor count · key count
    keys:    name · type · value
    tensors: name · dimensions · type · offset into the data section
    padding to the alignment, then the data

Format: the GGUF specification in ggml's docs/gguf.md.
"""

import mmap
import re
import struct
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

from edgechat.errors import ModelFileInvalid

Numbers = tuple[int, ...]
Value = int | float | bool | str | Numbers | None

MAX_KEYS = 4096  # the richest seen have a hundred
MAX_TENSORS = 10_000  # the largest mixtures of experts have 2,000
MAX_STRING = 1 << 20
MAX_ARRAY = 10_000_000
MAX_KEPT = 1024  # whole numbers of an array that are kept: one for each layer
MAX_TEXTS = 1_000_000  # in all arrays together; a vocabulary of 262,144 tokens has 800,000
MAX_NAME = 65_535
MAX_TENSOR_NAME = 63  # ggml's own
MAX_ALIGNMENT = 1 << 16
MAX_PARTS = 256

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_WHOLE = frozenset("BbHhIi?Qq")
_STRING, _ARRAY = 8, 9
# Keys of layers that keep a running state, by the kinds of them: what was read cannot be taken out of it again.
_STATES = ("ssm", "wkv", "shortconv", "kda")
_LENGTH = struct.Struct("<Q")
_PLACES = tuple(struct.Struct(f"<{rank}QIQ") for rank in range(5))  # sides, type, offset
_LEAST = {"keys": 13, "tensors": 24, "texts in one array": 8}  # bytes that each takes at least
_PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf", re.IGNORECASE)

# type id -> (name, values per block, bytes per block); ggml.h. A type that is not listed is left to the engine.
TENSOR_TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 20: ("IQ4_NL", 32, 18),
    23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 30: ("BF16", 1, 2),
}  # fmt: skip

# general.file_type -> its name; llama.h. Which types a mixture has depends on the shapes: a Q4_K_M may be Q5_0 mostly.
MIXTURES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS",
    20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M",
    28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE",
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """One tensor's place. `offset` in bytes from the start of the file; `size` in bytes, None if the type is new.

    `part` is which of the model's files that is, from 0.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    size: int | None
    part: int = 0


@dataclass(frozen=True)
class Header:
    """What a GGUF says about itself. Short arrays of whole numbers are kept, of others their length only."""

    metadata: dict[str, Value]
    tensors: tuple[Tensor, ...]

    def number(self, key: str) -> int | None:
        """The integer `key` of this architecture, such as `block_count`."""
        value = self.metadata.get(f"{self.architecture}.{key}")
        return value if isinstance(value, int) else None

    def numbers(self, key: str) -> Numbers:
        """The same where it may be one number or a list of them, such as one for each layer; empty where it is not."""
        value = self.metadata.get(f"{self.architecture}.{key}")
        return value if isinstance(value, tuple) else (value,) if isinstance(value, int) else ()

    def _text(self, key: str) -> str | None:
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None

    @property
    def architecture(self) -> str:
        """The model family, such as `qwen2`."""
        return self._text("general.architecture") or "unknown"

    @property
    def name(self) -> str | None:
        """The model's own name."""
        return self._text("general.name")

    @property
    def licence(self) -> str | None:
        """The licence the file names."""
        return self._text("general.license")

    @property
    def template(self) -> str | None:
        """The chat template, Jinja."""
        return self._text("tokenizer.chat_template")

    @property
    def context(self) -> int | None:
        """Tokens the model was trained to read."""
        return self.number("context_length")

    @property
    def vocabulary(self) -> int:
        """Tokens in its vocabulary; 0 where the header does not tell."""
        words = self.metadata.get("tokenizer.ggml.tokens")  # arrays are kept as their length
        return words if isinstance(words, int) else 0

    @property
    def is_recurrent(self) -> bool:
        """Whether layers keep a running state, beside or in place of keys and values, as far as the header tells."""
        kinds = tuple(f"{self.architecture}.{kind}." for kind in _STATES)
        return any(key.startswith(kinds) for key in self.metadata)

    @property
    def label(self) -> str:
        """What people call the mixture of its types, such as Q4_K_M; where the file does not say, `quantisation`."""
        kind = self.metadata.get("general.file_type")
        return MIXTURES.get(kind, self.quantisation) if isinstance(kind, int) else self.quantisation

    @property
    def quantisation(self) -> str:
        """The type that holds most of the weights."""
        weights: dict[str, int] = {}
        for tensor in self.tensors:
            weights[tensor.type] = weights.get(tensor.type, 0) + prod(tensor.shape)
        return max(weights, key=lambda kind: weights[kind], default="unknown")


def read_header(path: Path) -> Header:
    """Read and check the header of the GGUF at `path`; of a model in several files, those of all that lie beside it.

    Raises ModelFileInvalid, naming the file and what is wrong with it.
    """
    first, *others = (_read_one(part) for part in parts(path))
    further = (replace(tensor, part=n) for n, header in enumerate(others, 1) for tensor in header.tensors)
    return Header(first.metadata, (*first.tensors, *further))


def parts(path: Path) -> tuple[Path, ...]:
    """The files of the model that `path` is the first file of: it alone, or m-00001-of-00003.gguf and its brothers."""
    found = _PART.fullmatch(path.name)
    if found is None:
        return (path,)
    stem, number, count = found[1], int(found[2]), int(found[3])
    if number != 1 or not 0 < count <= MAX_PARTS:
        raise ModelFileInvalid(f"{path.name} is part {number} of {count}: name the first one.")
    return tuple(path.with_name(f"{stem}-{i:05}-of-{count:05}.gguf") for i in range(1, count + 1))


def _read_one(path: Path) -> Header:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reader(data).header()
    except IsADirectoryError:
        raise ModelFileInvalid(f"{path} is a folder of another kind of model: try --engine transformers.") from None
    except OSError as error:
        raise ModelFileInvalid(f"{path} cannot be read: {error.strerror}.") from error
    except (struct.error, ValueError) as error:
        reason = "the file ends inside its header" if isinstance(error, struct.error) else str(error) or "empty"
        raise ModelFileInvalid(f"{path.name} is not a usable GGUF model: {reason}. Fetch it again.") from error


class _Reader:
    """A cursor over the bytes. Complains with ValueError, or struct.error at the end of the file."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.at = 0
        self.texts = 0

    def header(self) -> Header:
        if self.data[:4] != b"GGUF":
            raise ValueError("it does not begin with GGUF")
        self.at = 4
        version = self.scalar("I")
        if version not in (2, 3):
            raise ValueError(f"GGUF version {version} is not read here")
        tensor_count = self.bounded("Q", MAX_TENSORS, "tensors")
        key_count = self.bounded("Q", MAX_KEYS, "keys")
        metadata: dict[str, Value] = {}
        for _ in range(key_count):
            key = self.string(MAX_NAME)
            if not key or key in metadata:
                raise ValueError(f"it has the key {key[:80]!r} twice, or a key without a name")
            metadata[key] = self.value()
        infos = [self.tensor_info() for _ in range(tensor_count)]
        if len({name for name, *_ in infos}) < len(infos):
            raise ValueError("it has two tensors of one name")
        alignment = metadata.get("general.alignment", 32)
        if type(alignment) is not int or not 0 < alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
            raise ValueError("its alignment is not a power of two")
        start = (self.at + alignment - 1) // alignment * alignment
        if self.at > len(self.data):
            raise struct.error
        return Header(metadata, tuple(self.placed(info, start, alignment) for info in infos))

    def scalar(self, code: str) -> int:
        form = "<" + code
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value  # type: ignore[no-any-return]

    def bounded(self, code: str, most: int, what: str) -> int:
        count = self.scalar(code)
        if count > most:
            raise ValueError(f"it claims {count} {what}")
        if count * _LEAST.get(what, 0) > len(self.data) - self.at:
            raise ValueError(f"it is cut off: it claims {count} {what}")
        return count

    def string(self, most: int = MAX_STRING) -> str:
        length = self.bounded("Q", most, "bytes of text in one value")
        text = self.data[self.at : self.at + length]
        if len(text) < length:
            raise struct.error
        self.at += length
        return text.decode("utf-8", errors="replace")

    def value(self) -> Value:
        kind = self.scalar("I")
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            return self.scalar(self.code(kind))
        kind = self.scalar("I")
        if kind == _STRING:
            length = self.bounded("Q", MAX_TEXTS, "texts in one array")
            self.skip_texts(length)
        else:
            length, code = self.bounded("Q", MAX_ARRAY, "values in one array"), self.code(kind)
            start = self.at
            self.at += length * struct.calcsize("<" + code)
            if code in _WHOLE and 0 < length <= MAX_KEPT:
                return struct.unpack_from(f"<{length}{code}", self.data, start)
        return length

    def skip_texts(self, count: int) -> None:
        self.texts += count
        if self.texts > MAX_TEXTS:
            raise ValueError(f"it holds more than {MAX_TEXTS:,} texts")
        at, data, end = self.at, self.data, len(self.data)
        for _ in range(count):
            (size,) = _LENGTH.unpack_from(data, at)
            at += 8 + size
            if at > end:
                raise struct.error
        self.at = at

    def code(self, kind: int) -> str:
        if kind not in _SCALARS:
            raise ValueError(f"it holds a value of unknown type {kind}")
        return _SCALARS[kind]

    def tensor_info(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self.string(MAX_TENSOR_NAME)
        rank = self.bounded("I", 4, "dimensions of one tensor")
        *shape, kind, offset = _PLACES[rank].unpack_from(self.data, self.at)
        self.at += _PLACES[rank].size
        if not name or not all(0 < side < 1 << 63 for side in shape):
            raise ValueError(f"its tensor {name!r} has no name, or a side of no or endless length")
        return name, tuple(shape), kind, offset

    def placed(self, info: tuple[str, tuple[int, ...], int, int], start: int, alignment: int) -> Tensor:
        name, shape, kind, offset = info
        if offset % alignment:
            raise ValueError(f"{name} begins between two places, at {offset}")
        if start + offset > len(self.data):
            raise ValueError(f"it is cut off: {name} should begin at byte {start + offset}")
        if kind not in TENSOR_TYPES:
            return Tensor(name, shape, f"type {kind}", start + offset, None)
        label, block, width = TENSOR_TYPES[kind]
        if shape and shape[0] % block:
            raise ValueError(f"a row of {name} is no whole number of {label} blocks")
        size = prod(shape) // block * width
        if start + offset + size > len(self.data):
            raise ValueError(
                f"it is cut off: {name} should end at byte {start + offset + size}, the file has {len(self.data)}"
            )
        return Tensor(name, shape, label, start + offset, size)
