"""Memory that moves to huge pages (memory.cpp) stays where it is and what it is, for whoever reads it meanwhile."""

import ctypes
import mmap
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgechat_engine.lib import engine_enlarge

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="this system moves no pages")
HUGE = 2 << 20
SIZE = 9 * HUGE + 5000
Bytes = NDArray[np.uint8]


@pytest.fixture
def mapped(tmp_path: Path) -> Iterator[tuple[Bytes, Bytes]]:
    """(a file as it is mapped, what is in it)"""
    meant = np.random.default_rng(1).integers(0, 256, SIZE, dtype=np.uint8)
    path = tmp_path / "weights"
    path.write_bytes(meant.tobytes())
    with path.open("rb") as file:
        area = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        yield np.frombuffer(area, dtype=np.uint8), meant


def enlarge(found: Bytes, start: int, size: int, stop: int = 0) -> int:
    assert engine_enlarge is not None
    moved: int = engine_enlarge(found.ctypes.data + start, size, ctypes.byref(ctypes.c_int(stop)))
    return moved


def of_file(address: int) -> bool:
    """Whether what is mapped at `address` is a file's."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, _, end = line.split()[0].partition("-")
        if int(start, 16) <= address < int(end, 16):
            assert line.split()[1].startswith("r-")  # as weights should be: nobody writes there
            return len(line.split()) > 5
    raise AssertionError(f"nothing is mapped at {address}")


@pytest.mark.parametrize("start, size", [(0, SIZE), (HUGE + 17, 4 * HUGE), (3 * HUGE, HUGE - 1), (5, 5), (SIZE, 0)])
def test_whole_huge_pages_move_and_nothing_else(mapped: tuple[Bytes, Bytes], start: int, size: int) -> None:
    found, meant = mapped
    first = -(-(found.ctypes.data + start) // HUGE) * HUGE
    expected = max(0, (found.ctypes.data + start + size - first) // HUGE) * HUGE
    assert enlarge(found, start, size) == expected
    assert np.array_equal(found, meant)
    pages = range(found.ctypes.data // mmap.PAGESIZE * mmap.PAGESIZE, found.ctypes.data + SIZE, mmap.PAGESIZE)
    assert all(of_file(page) != (first <= page < first + expected) for page in pages if page % (HUGE // 4) == 0)


def test_they_are_read_meanwhile(mapped: tuple[Bytes, Bytes]) -> None:
    found, meant = mapped
    done, sums = threading.Event(), set()

    def read() -> None:
        while not done.is_set():
            sums.add(int(found.sum(dtype=np.int64)))

    reader = threading.Thread(target=read)
    reader.start()
    assert enlarge(found, 0, SIZE) >= SIZE - 2 * HUGE
    done.set()
    reader.join()
    assert sums <= {int(meant.sum(dtype=np.int64))}


def test_it_stops_when_told(mapped: tuple[Bytes, Bytes]) -> None:
    found, meant = mapped
    assert enlarge(found, 0, SIZE, stop=1) == 0
    assert of_file(found.ctypes.data + SIZE // 2)
    assert np.array_equal(found, meant)
