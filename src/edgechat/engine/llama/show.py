"""Visual embeddings in a batch: vectors in the place of tokens, each with its position in time, row and column.

llama.cpp takes tokens or vectors in one step, not both. A model that counts rows and columns (M-RoPE) has four numbers
of a position, section by section: all times, all rows, all columns, all zeros.
"""

import array
import ctypes
from collections.abc import Sequence
from typing import NamedTuple

from edgechat.engine.base import Slice
from edgechat.engine.llama.places import Places
from edgechat.errors import EngineFailed
from edgechat_engine import lib

_MROPE = {8, 40}  # llama_rope_type: with sections, interleaved or not


class Shape(NamedTuple):
    """How a model takes vectors: so many numbers of each, and so many of its position."""

    width: int
    sections: int


def shape_of(model: ctypes.c_void_p) -> Shape:
    """How the model at `model` takes vectors."""
    return Shape(lib.llama_model_n_embd_inp(model), 4 if lib.llama_model_rope_type(model) in _MROPE else 1)


def decode(context: ctypes.c_void_p, batch: Sequence[Slice], places: Places, shape: Shape) -> tuple[int, list[int]]:
    """Compute the slices of `batch`, all of views: (llama.cpp's status, the row of each one's last cell).

    Raises EngineFailed for vectors that are not this model's.
    """
    count = sum(len(part.tokens) for part in batch)
    data = lib.llama_batch_init(count, 0, 1)  # its tokens are not used, and are freed with it
    vectors = bytearray()
    sections = [array.array("i") for _ in range(shape.sections)]
    row, rows = 0, []
    for part in batch:
        vectors += _vectors(part, shape.width)
        _stand(part, places.position(part.seq, part.start - _first(part)), sections)
        for _ in part.tokens:
            data.n_seq_id[row], data.seq_id[row][0], data.logits[row] = 1, part.seq, 0
            row += 1
        data.logits[row - 1] = part.sampler is not None
        rows.append(row - 1)
    shown = lib.llama_batch(
        n_tokens=count,
        embd=(ctypes.c_float * (count * shape.width)).from_buffer(vectors),
        pos=(ctypes.c_int32 * (count * shape.sections)).from_buffer(bytearray(b"".join(map(bytes, sections)))),
        n_seq_id=data.n_seq_id,
        seq_id=data.seq_id,
        logits=data.logits,
    )
    try:
        return lib.llama_decode(context, shown), rows
    finally:
        lib.llama_batch_free(data)


def _first(part: Slice) -> int:
    assert part.glance is not None
    return part.glance.first


def _vectors(part: Slice, width: int) -> bytes:
    assert part.glance is not None
    view, first = part.glance
    if len(view.vectors) != 4 * width * len(view.cells):
        raise EngineFailed("the projector's vectors are not of this model's width: it belongs to another model.")
    return view.vectors[4 * width * first : 4 * width * (first + len(part.tokens))]


def _stand(part: Slice, start: int, sections: Sequence["array.array[int]"]) -> None:
    """Put the positions of the part's cells, whose view begins at position `start`, into `sections`."""
    assert part.glance is not None
    view, first = part.glance
    places = array.array("i", view.places)[3 * first : 3 * (first + len(part.tokens))]
    time, column, row = places[0::3], places[1::3], places[2::3]
    none = array.array("i", bytes(len(places) // 3 * 4))
    for section, values in zip(sections, (time, row, column, none), strict=False):
        section.extend(value if values is none else start + value for value in values)
