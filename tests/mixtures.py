"""A mixture of experts made of a dense model: each feed-forward copied into equal experts, with a random router.

Whatever the router says, the experts that are used weigh 1 together, so the mixture answers as the dense model does.
"""

import ctypes
from pathlib import Path
from typing import Any

import numpy as np

from edgechat.gguf.header import TENSOR_TYPES, read_header
from edgechat_engine import lib
from edgechat_engine.library import function

ALIGNMENT = 32
IDS = {name: id for id, (name, _, _) in TENSOR_TYPES.items()}
PARTS = ("gate", "up", "down")


class _Params(ctypes.Structure):
    """ggml_init_params."""

    _fields_ = (("size", ctypes.c_size_t), ("buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool))


_init = function("ggml_init", ctypes.c_void_p, _Params)
_tensor = function(
    "ggml_new_tensor", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.POINTER(ctypes.c_int64)
)
_name = function("ggml_set_name", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)


def mixture(source: Path, target: Path, experts: int, used: int) -> Path:
    """Write the dense model at `source` to `target` as a mixture of `experts` equal ones, `used` for a token."""
    header, data = read_header(source), source.read_bytes()
    width = header.number("embedding_length")
    assert width is not None
    made: list[tuple[str, tuple[int, ...], str, bytes]] = []
    for tensor in header.tensors:
        layer, _, part = tensor.name.removesuffix(".weight").rpartition(".ffn_")
        raw = data[tensor.offset : tensor.offset + (tensor.size or 0)]
        if part not in PARTS:
            made.append((tensor.name, tensor.shape, tensor.type, raw))
            continue
        made.append((f"{layer}.ffn_{part}_exps.weight", (*tensor.shape, experts), tensor.type, raw * experts))
        if part == PARTS[0]:
            router = np.random.default_rng(len(made)).standard_normal((experts, width), dtype=np.float32)
            made.append((f"{layer}.ffn_gate_inp.weight", (width, experts), "F32", router.tobytes()))
    numbers = {"expert_count": experts, "expert_used_count": used}
    _write(source, target, made, {f"{header.architecture}.{key}": number for key, number in numbers.items()})
    return target


def _write(
    source: Path, target: Path, made: list[tuple[str, tuple[int, ...], str, bytes]], keys: dict[str, int]
) -> None:
    old = lib.gguf_init_from_file(bytes(source), lib.gguf_init_params(True, None))
    new, shapes = lib.gguf_init_empty(), _init(_Params(1 << 22, None, True))
    lib.gguf_set_kv(new, old)
    lib.gguf_remove_key(new, b"general.alignment")
    for key, number in keys.items():
        lib.gguf_set_val_u32(new, key.encode(), number)
    for name, shape, kind, _ in made:
        tensor: Any = _tensor(shapes, IDS[kind], len(shape), (ctypes.c_int64 * len(shape))(*shape))
        _name(tensor, name.encode())
        lib.gguf_add_tensor(new, tensor)
    assert lib.gguf_write_to_file(new, bytes(target), True)
    with target.open("ab") as file:
        for _, _, _, raw in made:
            file.write(raw)
            file.write(b"\0" * (-file.tell() % ALIGNMENT))
    lib.gguf_free(new)
    lib.gguf_free(old)
    lib.ggml_free(shapes)
