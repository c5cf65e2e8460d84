"""One operation of ggml's, computed by the library that the engine runs on."""

import ctypes
from collections.abc import Callable
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgechat_engine.library import function, processor_module

F32, F16, Q5_0, Q8_0 = 0, 1, 6, 8  # ggml_type
POINTER, NUMBER, REAL = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float


class Plan(ctypes.Structure):
    """ggml_cplan."""

    _fields_ = (
        ("work_size", ctypes.c_size_t),
        ("work_data", POINTER),
        ("n_threads", ctypes.c_int),
        ("threadpool", POINTER),
        ("abort", POINTER),
        ("abort_data", POINTER),
        ("use_ref", ctypes.c_bool),
    )


class Room(ctypes.Structure):
    """ggml_init_params."""

    _fields_ = (("size", ctypes.c_size_t), ("buffer", POINTER), ("no_alloc", ctypes.c_bool))


def computing(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    """A function of the library that computes here, of several the one that was loaded."""
    found = processor_module()[name]
    found.restype, found.argtypes = result, arguments
    return found


def interleaving() -> int:
    """The type of memory in which the library interleaves weights."""
    registry = function("ggml_backend_reg_by_name", POINTER, ctypes.c_char_p)(b"CPU")
    device = function("ggml_backend_reg_dev_get", POINTER, POINTER, ctypes.c_size_t)(registry, 0)
    ask = function("ggml_backend_reg_get_proc_address", POINTER, POINTER, ctypes.c_char_p)
    listed = ctypes.CFUNCTYPE(ctypes.POINTER(POINTER), POINTER)(ask(registry, b"ggml_backend_dev_get_extra_bufts"))
    name = function("ggml_backend_buft_name", ctypes.c_char_p, POINTER)
    kinds = takewhile(bool, (kind for kind in listed(device)))
    found: int = next(kind for kind in kinds if name(kind) == b"CPU_REPACK")
    return found


class Graph:
    """Tensors and the one operation on them. Each has memory of its own: a sanitizer sees what goes beyond its end."""

    def __init__(self) -> None:
        computing("ggml_cpu_init", None)()
        self._rooms: list[int] = []
        self._buffers: list[int] = []
        self._data = function("ggml_get_data", POINTER, POINTER)

    def _room(self, size: int, no_alloc: bool = False) -> int:
        """Memory for one tensor of so many bytes."""
        overhead = function("ggml_tensor_overhead", ctypes.c_size_t)()
        self._rooms.append(function("ggml_init", POINTER, Room)(Room(overhead + size, None, no_alloc)))
        return self._rooms[-1]

    def tensor(self, kind: int, shape: tuple[int, ...], data: bytes) -> int:
        """A tensor with `shape` as numpy has it, the longest stride first."""
        make = function("ggml_new_tensor_4d", POINTER, POINTER, ctypes.c_int, *[NUMBER] * 4)
        made: int = make(self._room(len(data)), kind, *reversed(shape), *[1] * (4 - len(shape)))
        ctypes.memmove(self._data(made), data, len(data))
        return made

    def interleaved(self, kind: int, shape: tuple[int, ...], data: bytes) -> int:
        """A tensor that is laid out in memory as the library's own products have it."""
        make = function("ggml_new_tensor_4d", POINTER, POINTER, ctypes.c_int, *[NUMBER] * 4)
        made: int = make(self._room(0, no_alloc=True), kind, *reversed(shape), *[1] * (4 - len(shape)))
        alloc = function("ggml_backend_alloc_ctx_tensors_from_buft", POINTER, POINTER, POINTER)
        self._buffers.append(alloc(self._rooms[-1], interleaving()))
        function("ggml_backend_tensor_set", None, *[POINTER] * 2, *[ctypes.c_size_t] * 2)(made, data, 0, len(data))
        return made

    def array(self, array: NDArray[np.float32] | NDArray[np.float16]) -> int:
        """A tensor of numbers."""
        return self.tensor(F16 if array.dtype == np.float16 else F32, array.shape, array.tobytes())

    def ready(self, threads: int, name: str, *arguments: int | float, size: int) -> tuple[int, Callable[[], None]]:
        """(the tensor of `size` bytes that the operation `name` makes of its tensors and numbers, what computes it)."""
        types = [REAL if isinstance(one, float) else POINTER for one in arguments]
        result: int = function(name, POINTER, POINTER, *types)(self._room(size), *arguments)
        graph = function("ggml_new_graph", POINTER, POINTER)(
            self._room(function("ggml_graph_overhead", ctypes.c_size_t)())
        )
        function("ggml_build_forward_expand", None, POINTER, POINTER)(graph, result)
        plan: Plan = computing("ggml_graph_plan", Plan, POINTER, ctypes.c_int, POINTER)(graph, threads, None)
        work = ctypes.create_string_buffer(plan.work_size + 1)
        plan.work_data = ctypes.addressof(work)
        compute, by = computing("ggml_graph_compute", ctypes.c_int, POINTER, ctypes.POINTER(Plan)), ctypes.byref(plan)

        def run(kept: object = work) -> None:
            assert compute(graph, by) == 0

        return result, run

    def compute(self, shape: tuple[int, ...], threads: int, name: str, *arguments: int | float) -> NDArray[np.float32]:
        """What the operation `name` makes of its tensors and numbers; the graph ends with it."""
        found = np.empty(shape, dtype=np.float32)
        result, run = self.ready(threads, name, *arguments, size=found.nbytes)
        run()
        ctypes.memmove(found.ctypes.data, self._data(result), found.nbytes)
        for buffer in self._buffers:
            function("ggml_backend_buffer_free", None, POINTER)(buffer)
        for room in self._rooms:
            function("ggml_free", None, POINTER)(room)
        return found
