"""Fewer steps (kernels/x86/steps.cpp): random graphs give the very same numbers as ggml's own loop over all operations.

Their memory is given out by ggml's allocator, which uses it again as soon as a tensor was read for the last time: a
product that is computed too early, or beside what it must not, writes over what somebody still reads.
"""

import ctypes
import platform

import numpy as np
import pytest

from edgechat_engine import kernels
from edgechat_engine.library import function
from graph import F32, NUMBER, POINTER, Graph, Plan, Room, computing

SIZE = 512  # numbers of a row: two super-blocks
KINDS = {"q4_k": (12, 144, 256), "q6_k": (14, 210, 256), "q5_0": (6, 22, 32), "q8_0": (8, 34, 32), "f32": (0, 4, 1)}
if "matmul-iq4_nl" in kernels():
    KINDS["iq4_nl"] = (20, 18, 32)  # interleaved
ROUNDS = 40
HEADS = 2

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="on other processors ggml's loop is as it is"
)


class Woven:
    """A graph in memory that ggml's allocator gives out; leaves get their numbers anew before each turn."""

    def __init__(self, dice: np.random.Generator) -> None:
        computing("ggml_cpu_init", None)()
        self._dice = dice
        overhead = function("ggml_tensor_overhead", ctypes.c_size_t)() * 512
        graphs = function("ggml_graph_overhead", ctypes.c_size_t)()
        self._context = function("ggml_init", POINTER, Room)(Room(overhead + graphs, None, True))
        self._graph = function("ggml_new_graph", POINTER, POINTER)(self._context)
        self._given: list[tuple[int, bytes]] = []
        self._laid = Graph()

    def _allocate(self, result: int) -> None:
        self._result = result
        function("ggml_set_output", None, POINTER)(result)
        self._keep(result)
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

    def compute(self, name: str, threads: int) -> tuple[list[bytes], int]:
        """(what the function `name` leaves in the result and in all leaves, the nodes it went through)."""
        data, size = function("ggml_get_data", POINTER, POINTER), function("ggml_nbytes", ctypes.c_size_t, POINTER)
        for tensor, given in self._given:
            ctypes.memmove(data(tensor), given, len(given))
        seen: list[None] = []

        def told(_: int) -> bool:
            seen.append(None)
            return False

        callback = ctypes.CFUNCTYPE(ctypes.c_bool, POINTER)(told)
        plan: Plan = computing("ggml_graph_plan", Plan, POINTER, ctypes.c_int, POINTER)(self._graph, threads, None)
        work = ctypes.create_string_buffer(plan.work_size + 1)
        plan.work_data, plan.abort = ctypes.addressof(work), ctypes.cast(callback, POINTER)
        assert computing(name, ctypes.c_int, POINTER, ctypes.POINTER(Plan))(self._graph, ctypes.byref(plan)) == 0
        tensors = [self._result, *(tensor for tensor, _ in self._given)]
        return [ctypes.string_at(data(tensor), size(tensor)) for tensor in tensors], len(seen)

    def close(self) -> None:
        function("ggml_gallocr_free", None, POINTER)(self._memory)
        function("ggml_free", None, POINTER)(self._context)


class Net(Woven):
    """Random operations on rows of SIZE numbers, in memory that is used again and again."""

    def __init__(self, dice: np.random.Generator, rows: int) -> None:
        super().__init__(dice)
        self._known = [self._leaf(F32, (rows, SIZE), self._numbers(rows, SIZE))]
        for _ in range(ROUNDS):
            self._grow()
        result = self._known[-1]
        for tensor in self._known[-3:]:
            result = self._made("ggml_add", result, tensor)
        self._allocate(result)

    def _weights(self) -> int:
        kind, size, span = KINDS[str(self._dice.choice(list(KINDS)))]
        if kind == F32:
            return self._leaf(kind, (SIZE, SIZE), self._numbers(SIZE, SIZE))
        raw = self._dice.integers(0, 256, (SIZE * SIZE // span, size), dtype=np.uint8)
        for at in {12: (0, 2), 14: (208,)}.get(kind, (0,)):
            raw[:, at : at + 2] = np.full((len(raw), 1), 0.001, dtype=np.float16).view(np.uint8)
        make = self._laid.interleaved if kind == KINDS.get("iq4_nl", (None,))[0] else self._leaf
        return make(kind, (SIZE, SIZE), raw.tobytes())

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


class States(Woven):
    """A delta net's states, copied from `rows` of the cache and, changed, back to those from `head` on."""

    def __init__(self, dice: np.random.Generator, rows: list[int], head: int, tokens: int, read: bool) -> None:
        super().__init__(dice)
        cells, count, width = 6, len(rows), 64 * 64 * HEADS
        cache = self._leaf(F32, (cells, width), self._numbers(cells, width))
        chosen = self._leaf(26, (1, count), np.array(rows, dtype=np.int32).tobytes())
        copied = self._made("ggml_get_rows", cache, chosen)
        self._keep(copied)
        state = self._shaped(copied, 64, 64, HEADS, count)
        parts = [self._part(64, tokens, count) for _ in range(3)] + [self._part(1, tokens, count) for _ in range(2)]
        rule: int = function("ggml_gated_delta_net", POINTER, *[POINTER] * 7, NUMBER)(self._context, *parts, state, 1)
        view = function("ggml_view_2d", POINTER, POINTER, POINTER, *[ctypes.c_size_t] * 4)
        end = 4 * 64 * HEADS * tokens * count
        new = view(self._context, rule, width, count, 4 * width, end)
        self._keep(self._made("ggml_cpy", new, view(self._context, cache, width, count, 4 * width, 4 * width * head)))
        result = self._made("ggml_silu", view(self._context, rule, 64 * HEADS, tokens * count, 4 * 64 * HEADS, 0))
        self._allocate(self._made("ggml_add", result, self._made("ggml_sum", copied)) if read else result)

    def _shaped(self, tensor: int, *shape: int) -> int:
        return int(function("ggml_reshape_4d", POINTER, POINTER, POINTER, *[NUMBER] * 4)(self._context, tensor, *shape))

    def _part(self, size: int, tokens: int, count: int) -> int:
        values = self._dice.uniform(-0.2, 0, (count * tokens * HEADS, size)).astype(np.float32)
        return self._shaped(self._leaf(F32, values.shape, values.tobytes()), size, HEADS, tokens, count)


@pytest.mark.parametrize("rows", [1, 3, 24])
@pytest.mark.parametrize("threads", [1, 2])
def test_they_give_the_same_numbers(rows: int, threads: int) -> None:
    for seed in range(4):
        net = Net(np.random.default_rng((seed, rows)), rows)
        (plain, many), (ours, few) = (
            net.compute("stock_ggml_graph_compute", threads),
            net.compute("ggml_graph_compute", threads),
        )
        numbers = np.frombuffer(plain[0], dtype=np.float32)
        assert np.all(np.isfinite(numbers)) and numbers.any()
        assert ours == plain
        assert few < many or (rows == 24 and few == many)  # too large for one thread
        net.close()


@pytest.mark.parametrize("tokens", [1, 40])
@pytest.mark.parametrize(
    ("rows", "head", "read", "in_place"),
    [
        ([2], 2, False, True),
        ([1, 2, 3], 1, False, True),
        ([4], 2, False, False),  # it goes to another place
        ([1, 2], 2, False, False),
        ([3, 2], 2, False, False),
        ([2, 4], 2, False, False),
        ([2], 2, True, False),  # somebody else reads it, too
    ],
)
def test_states_are_changed_where_they_lie(rows: list[int], head: int, read: bool, in_place: bool, tokens: int) -> None:
    if "delta-net" not in kernels():
        pytest.skip("the processor lacks the instructions")
    states = States(np.random.default_rng(tokens), rows, head, tokens, read)
    (plain, _), (ours, count) = states.compute("stock_ggml_graph_compute", 2), states.compute("ggml_graph_compute", 2)
    assert ours == plain
    assert (count == 2) == in_place  # the rule and what comes after it
    states.close()
