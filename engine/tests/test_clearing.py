"""Memory of a context is cleared without being touched (memory.cpp), and is zero all the same."""

import ctypes
import mmap
import sys
from pathlib import Path

import pytest

from buffers import buffer
from edgechat_engine import clears_lazily
from edgechat_engine.library import function

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the library clears by itself here")
PAGE = mmap.PAGESIZE
LARGE = 64 << 20  # bytes


def clear(held: int, value: int = 0) -> None:
    function("engine_clear", None, ctypes.c_void_p, ctypes.c_uint8)(held, value)


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


@pytest.mark.parametrize("size", [1, PAGE - 1, PAGE, 2 * PAGE, 5 * PAGE + 13, (4 << 20) + 100])
@pytest.mark.parametrize("value", [0, 7])
def test_every_byte_that_was_used_is_cleared_and_no_other(size: int, value: int) -> None:
    assert clears_lazily
    with buffer(size + 2 * PAGE) as (_, outer), buffer(size) as (held, address):
        ctypes.memset(outer, 5, size + 2 * PAGE)
        for _ in range(2):
            ctypes.memset(address, 255, size)
            clear(held, value)
            assert ctypes.string_at(address, size) == bytes([value]) * size
        assert ctypes.string_at(outer, size + 2 * PAGE) == bytes([5]) * (size + 2 * PAGE)


def test_a_new_buffer_takes_no_memory_until_it_is_used() -> None:
    before = resident()
    with buffer(LARGE) as (held, address):
        clear(held)
        assert resident() - before < LARGE // 8
        ctypes.memset(address, 1, LARGE)
        assert resident() - before > LARGE // 8 * 7
        clear(held)
        assert resident() - before < LARGE // 8


def test_pages_that_cannot_be_given_back_are_cleared_as_well() -> None:
    with buffer(8 * PAGE) as (held, address):
        ctypes.memset(address, 255, 8 * PAGE)
        if ctypes.CDLL(None).mlock(ctypes.c_void_p(address), ctypes.c_size_t(8 * PAGE)):
            pytest.skip("no page may be locked here")
        clear(held)
        assert ctypes.string_at(address, 8 * PAGE) == bytes(8 * PAGE)
