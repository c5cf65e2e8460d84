"""What a model reads of a picture (visual tokens): vectors, and the tokens around them."""

from edgechat.types import Struct


class View(Struct, frozen=True):
    """What an encoder made of a picture, or of a part of it (visual embeddings): a vector for each cell, in order.

    `cells` are made-up token ids, below zero, of the picture's hash. `vectors` are 32-bit floats, (cells, width).
    `places` are 32-bit integers, (cells, 3): time, column and row, counted from the first one's position. In time the
    whole takes `positions`, which are fewer than its cells where a model counts rows and columns (M-RoPE).
    """

    cells: tuple[int, ...]
    positions: int
    places: bytes
    vectors: bytes


Sight = tuple[tuple[int, ...] | View, ...]  # a picture as a model reads it: views, and token ids around them


def tokens_of(sight: Sight) -> int:
    """How many places of the context it takes."""
    return sum(len(part.cells if isinstance(part, View) else part) for part in sight)
