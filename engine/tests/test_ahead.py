"""Pages of a cache are taken before a step needs them (memory.cpp): the next one of each matrix, and no other."""

import ctypes
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from buffers import buffer
from edgechat_engine.lib import engine_ahead, engine_cells
from edgechat_engine.library import function

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="this system takes no pages ahead")
HUGE = 2 << 20
SIZE = 9 * HUGE + 5000


def clear_cells(held: int) -> None:
    function("engine_clear_cells", None, ctypes.c_void_p, ctypes.c_uint8)(held, 0)


def cells() -> list[tuple[int, int]]:
    assert engine_cells is not None
    found = (ctypes.c_size_t * 2 * 4)()
    return [(address, size) for address, size in found[: engine_cells(found, 4)]]


@pytest.fixture(autouse=True)
def told() -> Iterator[None]:
    """What is gone is told to nobody after this test."""
    yield
    cells()


def ahead(address: int) -> int:
    assert engine_ahead is not None
    taken: int = engine_ahead(address, SIZE)
    return taken


def test_it_is_told_once_where_keys_and_values_lie() -> None:
    cells()
    with buffer(SIZE) as (held, address):
        for _ in range(2):
            clear_cells(held)
        assert cells() == [(address, SIZE)]
        assert cells() == []


def test_the_page_behind_one_that_holds_something_is_taken() -> None:
    with buffer(SIZE) as (held, address):
        clear_cells(held)
        assert ahead(address) == 0  # nothing was written
        page = -(-address // HUGE) * HUGE + 2 * HUGE
        ctypes.memset(page, 7, 200_000)
        assert ahead(address) == HUGE
        assert ahead(address) == 0  # it is there now, and holds nothing
        ctypes.memset(page + HUGE, 8, 200_000)
        ctypes.memset(page + 4 * HUGE, 8, 200_000)
        assert [ahead(address) for _ in range(3)] == [HUGE, HUGE, 0]  # one at a time
        ctypes.memset(address + SIZE - 5000 - HUGE, 9, HUGE)  # the last whole page, and there is no other
        assert ahead(address) < HUGE
        found = np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_uint8)), (SIZE,))
        values, counts = np.unique(found, return_counts=True)
        assert dict(zip(values, counts, strict=True)) == {
            7: 200_000,
            8: 400_000,
            9: HUGE,
            0: SIZE - 600_000 - HUGE,
        }


def test_it_changes_nothing_while_a_step_writes_there() -> None:
    with buffer(SIZE) as (held, address):
        clear_cells(held)
        found = np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_uint32)), (SIZE // 4,))
        done = threading.Event()

        def look() -> None:
            while not done.is_set():
                ahead(address)

        looking = threading.Thread(target=look)
        looking.start()
        for start in range(0, len(found), 4096):
            found[start : start + 4096] = np.arange(start, min(start + 4096, len(found)))
        done.set()
        looking.join()
        assert np.array_equal(found, np.arange(len(found), dtype=np.uint32))
