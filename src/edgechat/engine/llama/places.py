"""Positions (rotary embeddings): which one each token of a sequence has, where pictures take more cells than positions.

llama.cpp counts positions, and whoever calls an engine counts what a sequence holds:

    held       0 1 2 3   4 5 6 7 8 9    10 11 12      a picture of two rows and three columns
    position   0 1 2 3   4 4 4 4 4 4     7  8  9      all its cells have one, and max(rows, columns) are counted on

So of each sequence the views are noted whose cells have no positions of their own; what llama.cpp saves does not tell
them. A picture of one row is among them: it counts as many on as it has cells, and yet all of these have one.
"""

import array
import struct
from typing import NamedTuple

import msgspec

from edgechat.errors import EngineFailed
from edgechat.prompt.sight import View

_LENGTH = struct.Struct("<I")


class Shown(NamedTuple):
    """A view in a sequence: the tokens before it, its cells and its positions."""

    start: int
    cells: int
    positions: int


class Places:
    """The views of all sequences."""

    def __init__(self) -> None:
        self._shown: dict[int, list[Shown]] = {}  # ascending

    def position(self, seq: int, at: int) -> int:
        """The position of what stands after the first `at` of `seq`; within a view, of all its cells."""
        found = at
        for view in self._shown.get(seq, ()):
            if view.start >= at:
                break
            is_within = at < view.start + view.cells
            found -= at - view.start if is_within else view.cells - view.positions
        return found

    def cut(self, seq: int, at: int) -> int:
        """As `position`, of a place where a sequence may be cut. Raises EngineFailed inside a view."""
        if any(view.start < at < view.start + view.cells for view in self._shown.get(seq, ())):
            raise EngineFailed(f"sequence {seq} cannot be cut at {at}, inside a picture.")
        return self.position(seq, at)

    def show(self, seq: int, start: int, view: View) -> None:
        """`seq` begins to read `view` after its first `start` tokens."""
        times = array.array("i", view.places)[0::3]
        if list(times) != list(range(len(view.cells))):
            self._shown.setdefault(seq, []).append(Shown(start, len(view.cells), view.positions))

    def trim(self, seq: int, start: int, end: int | None) -> None:
        """`seq` forgets what it holds from `start` to `end`."""
        left = [
            view for view in self._shown.pop(seq, ()) if view.start < start or (end is not None and view.start >= end)
        ]
        if left:
            self._shown[seq] = left

    def share(self, source: int, target: int, start: int, end: int) -> None:
        """`target` holds what `source` holds from `start` to `end`."""
        views = [view for view in self._shown.get(source, ()) if start <= view.start < end]
        if views:
            self._shown[target] = sorted({*self._shown.get(target, ()), *views})

    def saved(self, seq: int) -> bytes:
        """What is noted of `seq`, to stand before its state."""
        noted = msgspec.msgpack.encode(self._shown.get(seq, []))
        return _LENGTH.pack(len(noted)) + noted

    def restore(self, seq: int, state: bytes) -> int | None:
        """Note what `saved` wrote before `state`; its length in bytes, or None where that is something else."""
        try:
            (length,) = _LENGTH.unpack_from(state)
            noted = msgspec.msgpack.decode(memoryview(state)[_LENGTH.size : _LENGTH.size + length], type=list[Shown])
        except (struct.error, msgspec.DecodeError):
            return None
        self.trim(seq, 0, None)
        if noted:
            self._shown[seq] = noted
        return _LENGTH.size + int(length)
