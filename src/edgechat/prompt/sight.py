"""What a model reads of a picture (visual tokens): vectors, and the tokens around them."""

import math

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


# ── before it is seen ──

LEAST, MOST = 8, 512  # cells of a picture: smaller ones are enlarged, larger ones scaled down
SHARPEST = 1024  # where a request asks for more than usual
MARKS = 2  # tokens around it


def usual(width: int, height: int, patch: int) -> int:
    """How many cells a picture may have where nobody says: MOST, but all it has where it comes in whole ones.

    So sends it who has scaled it for this model, and wants more of it to be seen.
    """
    cells = (width // patch) * (height // patch)
    is_scaled = width % patch == height % patch == 0 and cells <= SHARPEST
    return max(cells, MOST) if is_scaled else MOST


def forecast(width: int, height: int, patch: int, most: int = MOST) -> int:
    """How many tokens a picture of `most` cells at most will take, each of which stands for `patch` × `patch` pixels.

    As Qwen's preprocessor scales it (`smart_resize`), which keeps its shape in whole cells; others come near that.
    """
    columns, rows = max(1, round(width / patch)), max(1, round(height / patch))
    if columns * rows > most:
        shrink = patch * math.sqrt(width * height / (most * patch**2))
        columns, rows = max(1, math.floor(width / shrink)), max(1, math.floor(height / shrink))
    elif columns * rows < LEAST:
        grow = math.sqrt(LEAST * patch**2 / (width * height)) / patch
        columns, rows = math.ceil(width * grow), math.ceil(height * grow)
    return columns * rows + MARKS
