"""The page cache: pages of the model's file that were laid out anew in memory, and are not needed there twice.

llama.cpp maps the whole file and then copies some matrices into a layout of its own. What it copied from stays mapped
and counts as this process's memory until the kernel is short of it; on a machine that is, a model of 4-bit weights
takes twice its size. Giving those pages back costs nothing: should anybody look at them again, they are read again.
"""

import ctypes
import mmap
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

MAPS = Path("/proc/self/maps")


class Mapping(NamedTuple):
    """A stretch of addresses, and the place in the file that the first one shows."""

    start: int
    end: int
    offset: int


def give_back(path: Path, stretches: Iterable[tuple[int, int]], maps: Path = MAPS) -> int:
    """Unmap the pages that lie wholly within `stretches`, (offset, size) in the file at `path`; returns their bytes.

    0 where a system does not tell what is mapped.
    """
    mappings, given = mappings_of(path, maps), 0
    for offset, size in stretches:
        for mapping in mappings:
            first = -(-max(offset - mapping.offset, 0) // mmap.PAGESIZE) * mmap.PAGESIZE
            end = min(offset + size - mapping.offset, mapping.end - mapping.start) // mmap.PAGESIZE * mmap.PAGESIZE
            if first < end and not _advise(mapping.start + first, end - first):
                given += end - first
    return given


def mappings_of(path: Path, maps: Path = MAPS) -> list[Mapping]:
    """Where the file at `path` is mapped in this process."""
    found = []
    with suppress(OSError):
        place = str(path.resolve())
        for line in maps.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            fields = line.split(maxsplit=5)
            if len(fields) == 6 and fields[5] == place:
                start, _, end = fields[0].partition("-")
                found.append(Mapping(int(start, 16), int(end, 16), int(fields[2], 16)))
    return found


def _advise(address: int, size: int) -> int:
    return int(ctypes.CDLL(None).madvise(ctypes.c_void_p(address), ctypes.c_size_t(size), mmap.MADV_DONTNEED))
