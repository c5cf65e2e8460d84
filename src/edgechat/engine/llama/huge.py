"""Huge pages (transparent huge pages): weights move there once they are loaded, and the cache's are taken ahead.

A step then asks less often where the next page of a mapped file is; engine/memory.cpp tells how pages change places
under whoever reads them. It takes half a second of one core for each gigabyte, of the time that nobody else wants.

Keys and values take their memory as conversations grow, two megabytes for each matrix of each layer, all in one step:
on a virtual machine it would stand still for a quarter of a second. So they are taken beside the steps before.
"""

import ctypes
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgechat import machine
from edgechat.engine.llama.pages import MAPS, mappings_of
from edgechat_engine import lib

NEAR = 1 << 12  # bytes between two stretches that are one
LOOK = 64  # tokens from one look for pages to take to the next; one holds thousands of them
PAUSE_S = 0.03  # from one page to the next: a virtual machine's host may take 5 ms for one, of a core that a step uses
MOST_CACHES = 8  # of one context: one, or two where some layers attend to a sliding window
LAST = 19  # nice of a thread that works beside the steps


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
        machine.give_way(LAST)
        for address, size in self._areas:
            self.moved += lib.engine_enlarge(address, size, ctypes.byref(self._stop))

    def wait(self) -> None:
        """Until all has been moved that can be."""
        self._thread.join()

    def end(self) -> None:
        """The rest stays where it is. Afterwards the memory may be taken away."""
        self._stop.value = 1
        self._thread.join()


class Ahead:
    """Takes the cache's memory, (address, size) each, a page before it is needed, beside the steps that fill it."""

    def __init__(self, areas: Sequence[tuple[int, int]]) -> None:
        self.taken = 0  # bytes
        self._areas = areas
        self._tokens = 0  # since the last look
        self._ended = threading.Event()
        self._grown = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pages ahead", daemon=True)
        self._thread.start()

    def grew(self, tokens: int) -> None:
        """So many more are in the cache."""
        self._tokens += tokens
        if self._tokens >= LOOK:
            self._tokens = 0
            self._grown.set()

    def _run(self) -> None:
        if not self._areas or lib.engine_ahead is None:
            return
        machine.give_way(LAST)
        while not self._ended.is_set():
            self._grown.wait()
            self._grown.clear()
            for address, size in self._areas:
                while not self._ended.wait(PAUSE_S) and (taken := lib.engine_ahead(address, size)):
                    self.taken += taken

    def end(self) -> None:
        """Afterwards the memory may be taken away."""
        self._ended.set()
        self._grown.set()
        self._thread.join()


def caches() -> list[tuple[int, int]]:
    """Where the keys and values lie of the context that this thread has made: (address, size)."""
    if lib.engine_cells is None:
        return []
    found = (ctypes.c_size_t * 2 * MOST_CACHES)()
    count = lib.engine_cells(found, MOST_CACHES)
    return [(address, size) for address, size in found[:count]]


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
