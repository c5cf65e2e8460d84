"""Huge pages (transparent huge pages): weights that are read where their file is mapped move there, once it is loaded.

A step then asks less often where the next page is; engine/memory.cpp tells how pages change places under whoever reads
them. It takes half a second of one core for each gigabyte, of the time that nobody else wants.
"""

import ctypes
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgechat import machine
from edgechat.engine.llama.pages import MAPS, mappings_of
from edgechat_engine import lib

NEAR = 1 << 12  # bytes between two stretches that are one
_LAST = 19  # nice


class Enlarging:
    """Moves memory, (address, size) each, to huge pages, beside whatever else is done."""

    def __init__(self, areas: Sequence[tuple[int, int]]) -> None:
        self.moved = 0  # bytes
        self._areas = areas
        self._stop = ctypes.c_int(0)
        self._thread = threading.Thread(target=self._run, name="huge pages", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        if not self._areas or lib.engine_enlarge is None:
            return
        machine.give_way(_LAST)
        for address, size in self._areas:
            self.moved += lib.engine_enlarge(address, size, ctypes.byref(self._stop))

    def wait(self) -> None:
        """Until all has been moved that can be."""
        self._thread.join()

    def end(self) -> None:
        """The rest stays where it is. Afterwards the memory may be taken away."""
        self._stop.value = 1
        self._thread.join()


def areas(path: Path, stretches: Iterable[tuple[int, int]], maps: Path = MAPS) -> list[tuple[int, int]]:
    """Where `stretches`, (offset, size) in the file at `path`, are mapped: (address, size), neighbours in one."""
    found: list[tuple[int, int]] = []
    mappings = mappings_of(path, maps)
    for offset, size in _joined(stretches):
        for mapping in mappings:
            first = max(offset - mapping.offset, 0)
            end = min(offset + size - mapping.offset, mapping.end - mapping.start)
            if first < end:
                found.append((mapping.start + first, end - first))
    return found


def _joined(stretches: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for offset, size in sorted(stretches):
        if joined and offset - sum(joined[-1]) < NEAR:
            first = joined.pop()[0]
            joined.append((first, offset + size - first))
        else:
            joined.append((offset, size))
    return joined
