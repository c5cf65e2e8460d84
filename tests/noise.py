"""Tiny projectors with random weights, of the kinds that libmtmd knows (random initialisation).

A tower of two blocks looks at patches of 16 × 16 pixels; what joins their vectors into the model's is each kind's own:

    pixels ─► patches ─► block ─► block ─► 2 × 2 joined ─► the model's width
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from tests.ggufs import Numbers, Shapes, gguf, write
from tests.tiny import WIDTH

PATCH, SIDE, MERGE, BLOCKS = 16, 128, 2, 2  # pixels of a patch, and of the picture that it is made for
TOWER, FEED, HEADS = 32, 64, 2
_CELLS, _JOINED = (SIDE // PATCH) ** 2, TOWER * MERGE**2


def _both(name: str, wide: int, out: int) -> Shapes:
    """A matrix with its bias."""
    return {f"{name}.weight": (wide, out), f"{name}.bias": (out,)}


def _norm(name: str, wide: int = TOWER) -> Shapes:
    return {f"{name}.weight": (wide,), f"{name}.bias": (wide,)}


def _qwen3vl(width: int) -> Shapes:
    second = {"v.patch_embd.weight.1": (PATCH, PATCH, 3, TOWER)}
    return second | _both("mm.0", _JOINED, _JOINED) | _both("mm.2", _JOINED, width)


def _internvl(width: int) -> Shapes:
    places = {"v.class_embd": (TOWER,), "v.position_embd.weight": (TOWER, _CELLS + 1)}
    joined = _norm("mm.model.mlp.0", _JOINED) | _both("mm.model.mlp.1", _JOINED, FEED)
    return places | joined | _both("mm.model.mlp.3", FEED, width)


def _gemma3(width: int) -> Shapes:
    return {"mm.input_projection.weight": (width, TOWER), "mm.soft_emb_norm.weight": (TOWER,)}


JOINTS: Mapping[str, Callable[[int], Shapes]] = {
    "qwen3vl_merger": _qwen3vl,
    "idefics3": lambda width: {"mm.model.fc.weight": (_JOINED, width)},
    "lfm2": lambda width: _norm("mm.input_norm", _JOINED) | _both("mm.1", _JOINED, FEED) | _both("mm.2", FEED, width),
    "internvl": _internvl,
    "gemma3": _gemma3,
}


def projector(path: Path, kind: str = "qwen3vl_merger", width: int = WIDTH, stacks: bool = False) -> Path:
    """Write a projector of `kind` to `path`, for models of `width`; one that `stacks` gives their second block more."""
    vision = {
        "image_size": SIDE, "patch_size": PATCH, "projection_dim": width, "embedding_length": TOWER,
        "feed_forward_length": FEED, "block_count": BLOCKS, "attention.head_count": HEADS,
        "attention.layer_norm_epsilon": 1e-6, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
        "projector.scale_factor": MERGE, "spatial_merge_size": MERGE, "preproc_image_size": 2 * SIDE,
    }  # fmt: skip
    keys: Numbers = {"general.architecture": "clip", "clip.has_vision_encoder": True, "clip.use_gelu": True}
    keys |= {"clip.projector_type": kind} | {f"clip.vision.{key}": value for key, value in vision.items()}
    shapes: Shapes = {
        "v.patch_embd.weight": (PATCH, PATCH, 3, TOWER), "v.patch_embd.bias": (TOWER,),
        "v.position_embd.weight": (TOWER, _CELLS),
    }  # fmt: skip
    for at in range(BLOCKS):
        shapes |= _block(f"v.blk.{at}", is_fused=kind == "qwen3vl_merger")
    if stacks:
        shapes |= _norm("v.deepstack.0.norm", _JOINED)
        shapes |= _both("v.deepstack.0.fc1", _JOINED, _JOINED) | _both("v.deepstack.0.fc2", _JOINED, width)

    return write(path, gguf(keys, shapes | _norm("v.post_ln") | JOINTS[kind](width), _random))


def _random(name: str, shape: tuple[int, ...]) -> bytes:
    """Large enough that every pixel is seen in every vector; norms about 1."""
    values: Any = np.random.default_rng(crc32(name.encode())).standard_normal(shape[::-1], np.float32)
    if "norm" in name or ".ln" in name or "mlp.0" in name:
        values = np.float32(name.endswith("weight")) + values / np.float32(10)
    elif len(shape) > 1 and "position" not in name:
        values *= np.float32(3 / np.prod(shape[:-1]) ** 0.5)
    data: bytes = values.astype(np.float32).tobytes()
    return data


def _block(name: str, is_fused: bool) -> Shapes:
    parts = _both(f"{name}.attn_qkv", TOWER, 3 * TOWER) if is_fused else {}
    for part in () if is_fused else "qkv":
        parts |= _both(f"{name}.attn_{part}", TOWER, TOWER)
    parts |= _both(f"{name}.attn_out", TOWER, TOWER) | _norm(f"{name}.ln1") | _norm(f"{name}.ln2")
    return parts | _both(f"{name}.ffn_up", TOWER, FEED) | _both(f"{name}.ffn_down", FEED, TOWER)
