"""Fewer steps (kernels/x86/steps.cpp): random graphs give the very same numbers as ggml's own loop over all operations.

Their memory is given out by ggml's allocator, which uses it again as soon as a tensor was read for the last time: a
product that is computed too early, or beside what it must not, writes over what somebody still reads.
"""

import ctypes
import platform

import numpy as np
import pytest
from numpy.typing import NDArray

from edgechat_engine.library import function, processor_module
from graph import F32, NUMBER, POINTER, Plan, Room, computing

Floats = NDArray[np.float32]
SIZE = 512  # numbers of a row: two super-blocks
KINDS = {"q4_k": (12, 144, 256), "q6_k": (14, 210, 256), "q5_0": (6, 22, 32), "q8_0": (8, 34, 32), "f32": (0, 4, 1)}
ROUNDS = 40

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="on other processors ggml's loop is as it is"
)


class Net:
    """A graph of random operations on rows of SIZE numbers, in memory that is used again and again."""

    def __init__(self, dice: np.random.Generator, rows: int) -> None:
        computing("ggml_cpu_init", None)()
        self._dice, self._rows = dice, rows
        overhead = function("ggml_tensor_overhead", ctypes.c_size_t)() * 512
        graphs = function("ggml_graph_overhead", ctypes.c_size_t)()
        self._context = function("ggml_init", POINTER, Room)(Room(overhead + graphs, None, True))
        self._graph = function("ggml_new_graph", POINTER, POINTER)(self._context)
        self._given: list[tuple[int, bytes]] = []
        self._known = [self._leaf(F32, (rows, SIZE), self._numbers(rows, SIZE))]
        for _ in range(ROUNDS):
            self._grow()
        self.result = self._known[-1]
        for tensor in self._known[-3:]:
            self.result = self._made("ggml_add", self.result, tensor)
        function("ggml_set_output", None, POINTER)(self.result)
        self._keep(self.result)
        buffers = computing("ggml_backend_cpu_buffer_type", POINTER)()
        self._memory = function("ggml_gallocr_new", POINTER, POINTER)(buffers)
        assert function("ggml_gallocr_alloc_graph", ctypes.c_bool, POINTER, POINTER)(self._memory, self._graph)

    def _numbers(self, *shape: int) -> bytes:
        return self._dice.standard_normal(shape, dtype=np.float32).tobytes()

    def _leaf(self, kind: int, shape: tuple[int, int], data: bytes) -> int:
        make = function("ggml_new_tensor_2d", POINTER, POINTER, ctypes.c_int, NUMBER, NUMBER)
        tensor: int = make(self._context, kind, shape[1], shape[0])
        function("ggml_set_input", None, POINTER)(tensor)
        function("ggml_set_output", None, POINTER)(tensor)  # stays for the next turn
        self._given.append((tensor, data))
        return tensor

    def _made(self, name: str, *tensors: int) -> int:
        made: int = function(name, POINTER, *[POINTER] * (1 + len(tensors)))(self._context, *tensors)
        return made

    def _keep(self, tensor: int) -> None:
        function("ggml_build_forward_expand", None, POINTER, POINTER)(self._graph, tensor)

    def _weights(self) -> int:
        kind, size, span = KINDS[str(self._dice.choice(list(KINDS)))]
        if kind == F32:
            return self._leaf(kind, (SIZE, SIZE), self._numbers(SIZE, SIZE))
        raw = self._dice.integers(0, 256, (SIZE * SIZE // span, size), dtype=np.uint8)
        for at in {12: (0, 2), 14: (208,)}.get(kind, (0,)):
            raw[:, at : at + 2] = np.full((len(raw), 1), 0.001, dtype=np.float16).view(np.uint8)
        return self._leaf(kind, (SIZE, SIZE), raw.tobytes())

    def _norm(self, tensor: int) -> int:
        return int(function("ggml_rms_norm", POINTER, POINTER, POINTER, ctypes.c_float)(self._context, tensor, 1e-6))

    def _some(self) -> int:
        """One of the newest tensors: others are soon read for the last time."""
        return self._known[-1 - int(self._dice.integers(0, min(6, len(self._known))))]

    def _grow(self) -> None:
        """One more operation, or several products of the same activations, as attention has them."""
        one, two = self._some(), self._some()
        match int(self._dice.integers(0, 6)):
            case 0:
                self._known.append(self._made("ggml_add", one, two))
            case 1:
                self._known.append(
                    self._made("ggml_mul", self._norm(one), self._leaf(F32, (1, SIZE), self._numbers(SIZE)))
                )
            case 2:
                self._known.append(self._made("ggml_silu", one))
            case 3:
                self._known.append(self._made("ggml_swiglu_split", one, two))
            case _:
                given = self._norm(one)
                for _ in range(int(self._dice.integers(1, 4))):
                    product = self._made("ggml_mul_mat", self._weights(), given)
                    self._known.append(self._norm(self._made("ggml_mul", self._some(), product)))
                    self._keep(self._known[-1])
        self._keep(self._known[-1])

    def compute(self, name: str, threads: int) -> Floats:
        """What the function `name` makes of the graph."""
        data = function("ggml_get_data", POINTER, POINTER)
        for tensor, given in self._given:
            ctypes.memmove(data(tensor), given, len(given))
        plan: Plan = computing("ggml_graph_plan", Plan, POINTER, ctypes.c_int, POINTER)(self._graph, threads, None)
        work = ctypes.create_string_buffer(plan.work_size + 1)
        plan.work_data = ctypes.addressof(work)
        assert computing(name, ctypes.c_int, POINTER, ctypes.POINTER(Plan))(self._graph, ctypes.byref(plan)) == 0
        found = np.empty((self._rows, SIZE), dtype=np.float32)
        ctypes.memmove(found.ctypes.data, data(self.result), found.nbytes)
        return found

    def close(self) -> None:
        function("ggml_gallocr_free", None, POINTER)(self._memory)
        function("ggml_free", None, POINTER)(self._context)


@pytest.mark.parametrize("rows", [1, 3, 24])
@pytest.mark.parametrize("threads", [1, 2])
def test_they_give_the_same_numbers(rows: int, threads: int) -> None:
    assert hasattr(processor_module(), "stock_ggml_graph_compute")
    for seed in range(4):
        net = Net(np.random.default_rng((seed, rows)), rows)
        plain, ours = (net.compute(name, threads) for name in ("stock_ggml_graph_compute", "ggml_graph_compute"))
        assert np.all(np.isfinite(plain)) and plain.any()
        np.testing.assert_array_equal(ours, plain)
        net.close()
