"""Write a GGUF again, with every tensor in the type of one's choice: what tuning tries its recipes with.

llama.cpp's own quantiser decides by itself which tensor gets which type, knows no cancel, and searches the best scale
of an IQ4_NL block among fifteen: minutes for a 0.5B model on an older processor, for a gain too small to tell. Here
each block is rounded once, by ggml's reference rounding, some fourteen times as fast; for every other type used here
the two are the same code. Rows are rounded by several threads: ctypes lets them run side by side.

    source ─ mmap ─► to_float ─► rounded ─► target.part ─► target        a tensor that keeps its type is copied
    relatives ─────────── a tensor that has the wanted type already is copied from there

The header is written by ggml itself, from the source's own keys.
"""

import ctypes
import errno
import mmap
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from edgechat.errors import EngineFailed
from edgechat.gguf.header import TENSOR_TYPES, Header, Tensor, Value, read_header
from edgechat.gguf.shape import DRAFTS
from edgechat.process import atomic
from edgechat.process.disk import check_room, writing
from edgechat_engine import lib
from edgechat_engine.structures import ggml_type_traits

CHUNK = 1 << 20  # values that are rounded at once: bounds memory to some megabytes per thread
SECTIONS = ".rope.dimension_sections"  # four, however many layers there are
ALIGNMENT = 32  # of tensors in the target, ggml's default
IDS = {name: (id, block, width) for id, (name, block, width) in TENSOR_TYPES.items()}

Bytes = memoryview


class Wanted(NamedTuple):
    """A tensor of the target: what it is in the source, and its type."""

    tensor: Tensor
    type: str

    @property
    def size(self) -> int:
        """Bytes in the target, without padding."""
        _, block, width = IDS[self.type]
        return prod(self.tensor.shape) // block * width


def recast(
    source: Path,
    target: Path,
    types: Mapping[str, str],
    threads: int,
    relatives: Sequence[Path] = (),
    told: Callable[[int, int], None] = lambda _done, _total: None,
) -> None:
    """Write the GGUF at `source` to `target` with the tensors named in `types` as those types.

    `relatives` were made from the same source: what they have in the wanted type is copied. `told` gets done and total
    bytes. `target` appears only when it is whole. Raises ModelFileInvalid, NoSpace, StorageError.
    """
    header = read_header(source)
    wanted = [Wanted(tensor, types.get(tensor.name, tensor.type)) for tensor in header.tensors]
    others = [(path, read_header(path)) for path in relatives]
    with ThreadPoolExecutor(threads) as pool, _Sources([(source, header), *others]) as sources:
        pieces = (_pieces(one, sources, pool) for one in wanted)
        _store(source, target, wanted, pieces, {}, {}, told)


def twin(source: Path, target: Path, layers: int, kind: Callable[[Tensor], str | None]) -> None:
    """Write a model of the shape of `source`, but with `layers` layers, and noise inside.

    Its steps take as long as real ones: that depends on shapes and types, not on values. `kind` is the type of a
    matrix; None leaves it as it is, as a recurrent layer's convolution. One matrix is both embedding and head; what
    the header lists for each layer is cut, and no layer drafts. Raises as `recast`.
    """
    header = read_header(source)
    names = {f"blk.{layer}." for layer in range(layers)}
    kept = [t for t in header.tensors if not t.name.startswith("blk.") or t.name[: t.name.index(".", 4) + 1] in names]
    kinds = {t.name: kind(t) for t in kept if len(t.shape) > 1}
    wanted = [Wanted(t, kinds.get(t.name) or t.type) for t in kept if t.name != "output.weight"]
    count, drafts = (f"{header.architecture}.{key}" for key in ("block_count", DRAFTS))
    numbers = {count: layers} | ({drafts: 0} if drafts in header.metadata else {})
    lists = dict.fromkeys(_for_each_layer(header, header.metadata.get(count)), layers)
    with _Sources([(source, header)]) as sources:
        pieces = (_noise(one) if kinds.get(one.tensor.name) else iter([sources.raw(one.tensor)]) for one in wanted)
        _store(source, target, wanted, pieces, numbers, lists, lambda _done, _total: None)


def _for_each_layer(header: Header, count: Value) -> list[str]:
    """The keys that list a number for each of `count` layers."""
    lists = (key for key, value in header.metadata.items() if isinstance(value, tuple) and len(value) == count)
    return [key for key in lists if not key.endswith(SECTIONS)]


class _Sources:
    """The mapped files that tensors come from; the first is the source."""

    def __init__(self, files: Sequence[tuple[Path, Header]]) -> None:
        self._files = files
        self._maps: list[mmap.mmap] = []

    def __enter__(self) -> "_Sources":
        for path, _ in self._files:
            with path.open("rb") as file:
                self._maps.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        return self

    def __exit__(self, *_: object) -> None:
        self._maps.clear()  # unmapped with the last view of them

    def raw(self, tensor: Tensor) -> Bytes:
        """The tensor's bytes in the source."""
        assert tensor.size is not None
        return memoryview(self._maps[0])[tensor.offset : tensor.offset + tensor.size]

    def having(self, wanted: Wanted) -> Bytes | None:
        """The bytes of the wanted tensor, where some file has it in that type."""
        for mapped, (_, header) in zip(self._maps, self._files, strict=True):
            for tensor in header.tensors:
                if (tensor.name, tensor.shape, tensor.type) == (wanted.tensor.name, wanted.tensor.shape, wanted.type):
                    return memoryview(mapped)[tensor.offset : tensor.offset + wanted.size]
        return None


def _store(
    source: Path,
    target: Path,
    wanted: Sequence[Wanted],
    pieces: Iterator[Iterator[Bytes]],
    numbers: Mapping[str, int],
    lists: Mapping[str, int],
    told: Callable[[int, int], None],
) -> None:
    """Header, then every tensor's pieces, padded; under another name until all is there."""
    total, done = sum(one.size for one in wanted), 0
    with writing(target.parent):
        check_room(target.parent, total)
        with atomic.replacing(target, durable=False) as part:
            _write_header(source, part, wanted, numbers, lists)
            with part.open("ab") as file:
                for parts in pieces:
                    for piece in parts:
                        file.write(piece)
                        done += len(piece)
                        told(done, total)
                    _pad(file)


def _pad(file: BinaryIO) -> None:
    file.write(b"\0" * (-file.tell() % ALIGNMENT))


def _write_header(
    source: Path, target: Path, wanted: Sequence[Wanted], numbers: Mapping[str, int], lists: Mapping[str, int]
) -> None:
    """The source's keys with `numbers` changed and `lists` so long, and the wanted tensors' names, shapes and types."""
    shapes = ctypes.c_void_p()
    old = lib.gguf_init_from_file(os.fsencode(source), lib.gguf_init_params(True, ctypes.pointer(shapes)))
    if not old:
        raise EngineFailed(f"llama.cpp does not read {source.name}.")
    new = lib.gguf_init_empty()
    try:
        lib.gguf_set_kv(new, old)
        lib.gguf_remove_key(new, b"general.alignment")
        for key, number in numbers.items():
            lib.gguf_set_val_u32(new, key.encode(), number)
        for key, length in lists.items():
            at = lib.gguf_find_key(old, key.encode())
            kind, data = lib.gguf_get_arr_type(old, at), lib.gguf_get_arr_data(old, at)
            lib.gguf_set_arr_data(new, key.encode(), kind, data, length)
        for one in wanted:
            name = one.tensor.name.encode()
            lib.gguf_add_tensor(new, lib.ggml_get_tensor(shapes, name))
            lib.gguf_set_tensor_type(new, name, IDS[one.type][0])
        if not lib.gguf_write_to_file(new, os.fsencode(target), True):
            raise OSError(errno.ENOSPC, "the header could not be written")
    finally:
        lib.gguf_free(new)
        lib.gguf_free(old)
        lib.ggml_free(shapes)


def _pieces(wanted: Wanted, sources: _Sources, pool: ThreadPoolExecutor) -> Iterator[Bytes]:
    """The bytes of one tensor in its new type, in order."""
    ready = sources.having(wanted)
    if ready is not None:
        yield ready
        return
    raw, row = sources.raw(wanted.tensor), wanted.tensor.shape[0]
    _, block, width = IDS[wanted.tensor.type]
    rows, old_row = prod(wanted.tensor.shape) // row, row // block * width
    step = max(1, CHUNK // row)
    cuts = [raw[at * old_row : min(at + step, rows) * old_row] for at in range(0, rows, step)]
    yield from pool.map(lambda cut: _rounded(cut, wanted.tensor.type, wanted.type), cuts)


def _rounded(raw: Bytes, old: str, new: str) -> Bytes:
    """`raw` of type `old` as type `new`."""
    _, block, width = IDS[old]
    count = len(raw) // width * block
    values = np.empty(count, dtype=np.float32)
    if old == "F32":
        values[:] = np.frombuffer(raw, dtype=np.float32)
    else:
        data = np.frombuffer(raw, dtype=np.uint8)
        _of(old).to_float(data.ctypes.data, values.ctypes.data, count)
    return _from_floats(values, new)


def _from_floats(values: "np.ndarray[tuple[int], np.dtype[np.float32]]", new: str) -> Bytes:
    _, block, width = IDS[new]
    if new == "F32":
        return values.data.cast("B")
    into = np.empty(len(values) // block * width, dtype=np.uint8)
    _of(new).from_float_ref(values.ctypes.data, into.ctypes.data, len(values))
    return into.data


def _of(kind: str) -> ggml_type_traits:
    traits: ggml_type_traits = lib.ggml_get_type_traits(IDS[kind][0]).contents
    return traits


def _noise(wanted: Wanted) -> Iterator[Bytes]:
    """Random weights, standard deviation 0.02: one chunk of rows again and again."""
    row = wanted.tensor.shape[0]
    rows = prod(wanted.tensor.shape) // row
    step = min(rows, max(1, CHUNK // row))
    values = np.random.default_rng(0).standard_normal(step * row, dtype=np.float32) * np.float32(0.02)
    chunk = _from_floats(values, wanted.type)
    one_row = len(chunk) // step
    for at in range(0, rows, step):
        yield chunk[: min(step, rows - at) * one_row]
