"""A test double of a projector: it sees a cell in every 32 × 32 pixels begun, and nothing in it.

To the fake engine (fake.py) a picture is "(picture 3f09)", by its hash.
"""

import struct
from collections.abc import Callable
from pathlib import Path

from edgechat.engine.base import Pixels, digest_of, made_up
from edgechat.engine.fake import CELL, read
from edgechat.errors import ModelFileInvalid
from edgechat.prompt.sight import Sight, View


class FakeEyes:
    """`Eyes` of base.py."""

    def __init__(self, model: Path, projector: Path, digest: str) -> None:
        read(model)
        if not projector.exists():
            raise ModelFileInvalid(f"{projector} is no projector.")
        self._digest = digest

    def see(self, pixels: Pixels, threads: int, goes_on: Callable[[float | None], bool]) -> Sight | None:
        del threads
        rows, columns = -(-pixels.height // 32), -(-pixels.width // 32)
        key = f"{self._digest} {digest_of(pixels)}"
        cells: list[int] = []
        for cell in made_up(key, rows * columns):
            if not goes_on(len(cells) / (rows * columns)):
                return None
            cells.append(cell)
        places = b"".join(struct.pack("<3i", 0, at % columns, at // columns) for at in range(len(cells)))
        vectors = b"".join(map(CELL.pack, cells))
        return (ord("("),), View(tuple(cells), max(rows, columns), places, vectors), (ord(")"),)
