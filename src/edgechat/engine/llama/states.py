"""Recurrent state: what layers of a recurrent or hybrid model (Mamba, gated delta nets, short convolutions) keep of a
sequence. It is that of the end: llama.cpp copies it whole, or not at all, and takes nothing back out of it.

    share(0, 1, 0, L)                  1 attends to the same cells, but has the state of the end of 0
    put(1, what was taken at L)        and now that of L

So do layers that attend to a sliding window: cells that the window has passed are given to others, and are not saved.

That this holds for a model is not believed but tried, before it answers anybody: its architecture may be younger than
the library's word for it.
"""

import ctypes
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from edgechat import machine
from edgechat.engine.base import Scorer, Slice
from edgechat.engine.llama.huge import LAST, PAUSE_S
from edgechat.errors import EngineFailed
from edgechat_engine import lib

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PIECE = 1 << 21  # bytes that room for the next copy takes from the system at once
WHOLE, PARTIAL_ONLY = 0, 1  # LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY: without the cells of attention
# Of the largest logit. Cells that others have lie between in a branch, so sums come in another order: without flash
# attention that moved 0.2 % in a random Granite of Q4_K. A foreign state moved 21 to 81 % in seven families.
CLOSE = 0.03


_unwritten = ctypes.pythonapi.PyBytes_FromStringAndSize
_unwritten.restype, _unwritten.argtypes = ctypes.py_object, (ctypes.c_char_p, ctypes.c_ssize_t)


def has_states(model: ctypes.c_void_p) -> bool:
    """Whether layers of the model keep a running state."""
    return bool(lib.llama_model_is_recurrent(model) or lib.llama_model_is_hybrid(model))


class Blanks:
    """Room for the next copy of a state, whose pages are there already: to take tens of megabytes from the system may
    last as long as a step, and whoever is answered would wait for it."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "blanks", partial(machine.give_way, LAST))
        self._next: Future[bytes] | None = None

    def take(self, size: int) -> bytes:
        """So many bytes, whatever they are; the next ones are made ready beside the steps until then."""
        ready = self._next.result() if self._next is not None and self._next.done() else b""
        self._next = self._pool.submit(_touched, size)
        return ready if len(ready) == size else blank(size)

    def end(self) -> None:
        """Nobody takes one any more."""
        self._pool.shutdown()


def blank(size: int) -> bytes:
    """So many bytes that nobody has seen yet, and may be written."""
    state: bytes = _unwritten(None, size)
    return state


def _touched(size: int) -> bytes:
    """`blank`, or nothing where there is no memory: whoever needs it asks again."""
    with suppress(MemoryError):
        state = blank(size)
        for start in range(0, size, PIECE):
            ctypes.memset(_address(state, start), 0, min(PIECE, size - start))
            time.sleep(PAUSE_S)
        return state
    return b""


def take(
    context: ctypes.c_void_p,
    seq: int,
    flags: int = PARTIAL_ONLY,
    head: bytes = b"",
    room: Callable[[int], bytes] = blank,
) -> bytes:
    """`head`, and behind it a copy of the state of `seq`, in `room` for both. Raises EngineFailed."""
    size = lib.llama_state_seq_get_size_ext(context, seq, flags)
    state = room(len(head) + size)  # written where it stays: another copy would halt writers as long
    ctypes.memmove(_address(state), head, len(head))
    if lib.llama_state_seq_get_data_ext(context, _address(state, len(head)), size, seq, flags) != size or not size:
        raise EngineFailed(f"llama.cpp does not tell the state of sequence {seq}.")
    return state


def put(context: ctypes.c_void_p, seq: int, state: bytes, flags: int = PARTIAL_ONLY, head: int = 0) -> None:
    """`seq` goes on from `state`, behind its first `head` bytes, whatever it had. Raises EngineFailed."""
    size = len(state) - head
    if lib.llama_state_seq_set_data_ext(context, _address(state, head), size, seq, flags) != size:
        raise EngineFailed(f"llama.cpp does not take the state of sequence {seq}.")


def _address(data: bytes, offset: int = 0) -> "ctypes._Pointer[ctypes.c_uint8]":
    """A pointer into `data`, which is not copied: a long conversation's state has half a gigabyte."""
    start = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0
    return ctypes.cast(start + offset, ctypes.POINTER(ctypes.c_uint8))


def goes_on(memory: ctypes.c_void_p, seq: int, start: int, window: int) -> bool:
    """Whether the state of `seq` is that of its first `start` tokens, or its `window` is whole there (0: has none)."""
    first = int(lib.llama_memory_seq_pos_min(memory, seq))  # of cells and state together, or of the window's cells
    return first <= max(0, start - window + 1) if window else first == start - 1


def branches(engine: Scorer) -> bool:
    """Whether a branch of `engine` goes on as a fresh sequence does, and leaves the one it parted from unharmed."""
    first, other, third, fourth = 1, 2, 3, 4
    try:
        opinions = []
        for with_branch in (False, True):
            engine.step([Slice(0, 0, [first, other])])
            checkpoint = engine.checkpoint(0)
            if with_branch:
                engine.step([Slice(0, 2, [third])])
                engine.share(0, 1, 0, 2, checkpoint)
                opinions.append((engine.logits(1, 2, [fourth]), engine.logits(0, 3, [first])))
            else:
                alone = engine.logits(0, 2, [fourth])
                engine.trim(0)
                engine.step([Slice(0, 0, [first, other])])
                engine.step([Slice(0, 2, [third])])
                opinions.append((alone, engine.logits(0, 3, [first])))
            for seq in (0, 1):
                engine.trim(seq)
    except EngineFailed:
        return False
    (alone, onward), (branch, unharmed) = opinions
    return _close(alone, branch) and _close(onward, unharmed)


def _close(one: "NDArray[np.float32]", other: "NDArray[np.float32]") -> bool:
    return bool(abs(one - other).max() <= CLOSE * max(1.0, float(abs(one).max())))
