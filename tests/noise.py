"""Projectors with random weights, of the kinds that libmtmd knows (random initialisation): tiny, or of real shapes.

A tower of blocks looks at patches of 16 × 16 pixels; what joins their vectors into the model's is each kind's own:

    pixels ─► patches ─► block ─► block ─► 2 × 2 joined ─► the model's width

python -m tests.noise SHAPE FILE      writes one of SHAPES to FILE, in F16
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from tests.ggufs import Numbers, Shapes, gguf, write
from tests.tiny import WIDTH

PATCH, MERGE = 16, 2
SMALL = 512  # a row of a large tower's matrices has more


class Tower(NamedTuple):
    """How large a tower is. It is made for pictures of `side` pixels; `stacked` blocks give their own to the model."""

    width: int = 32
    feed: int = 64
    heads: int = 2
    blocks: int = 2
    side: int = 128
    stacked: tuple[int, ...] = ()

    @property
    def cells(self) -> int:
        """Patches of a picture."""
        return (self.side // PATCH) ** 2

    @property
    def joined(self) -> int:
        """Width of four patches."""
        return self.width * MERGE**2


TINY, STACKED = Tower(), Tower(stacked=(0,))
# Towers of Qwen's kind, with the width of the model that each belongs to.
SHAPES = {
    "qwen3.5-0.8b": (Tower(768, 3072, 12, 12, 768), 1024),
    "qwen3-vl-2b": (Tower(1024, 4096, 16, 24, 768, (5, 11, 17)), 2048),
}


def _both(name: str, wide: int, out: int) -> Shapes:
    """A matrix with its bias."""
    return {f"{name}.weight": (wide, out), f"{name}.bias": (out,)}


def _norm(name: str, wide: int) -> Shapes:
    return {f"{name}.weight": (wide,), f"{name}.bias": (wide,)}


def _qwen3vl(tower: Tower, width: int) -> Shapes:
    found: Shapes = {"v.patch_embd.weight.1": (PATCH, PATCH, 3, tower.width)}
    for at in tower.stacked:
        found |= _norm(f"v.deepstack.{at}.norm", tower.joined) | _both(f"v.deepstack.{at}.fc2", tower.joined, width)
        found |= _both(f"v.deepstack.{at}.fc1", tower.joined, tower.joined)
    return found | _both("mm.0", tower.joined, tower.joined) | _both("mm.2", tower.joined, width)


def _idefics3(tower: Tower, width: int) -> Shapes:
    return {"mm.model.fc.weight": (tower.joined, width)}


def _lfm2(tower: Tower, width: int) -> Shapes:
    norm = _norm("mm.input_norm", tower.joined)
    return norm | _both("mm.1", tower.joined, tower.feed) | _both("mm.2", tower.feed, width)


def _internvl(tower: Tower, width: int) -> Shapes:
    places = {"v.class_embd": (tower.width,), "v.position_embd.weight": (tower.width, tower.cells + 1)}
    joined = _norm("mm.model.mlp.0", tower.joined) | _both("mm.model.mlp.1", tower.joined, tower.feed)
    return places | joined | _both("mm.model.mlp.3", tower.feed, width)


def _gemma3(tower: Tower, width: int) -> Shapes:
    return {"mm.input_projection.weight": (width, tower.width), "mm.soft_emb_norm.weight": (tower.width,)}


JOINTS: Mapping[str, Callable[[Tower, int], Shapes]] = {
    "qwen3vl_merger": _qwen3vl,
    "idefics3": _idefics3,
    "lfm2": _lfm2,
    "internvl": _internvl,
    "gemma3": _gemma3,
}


def projector(path: Path, kind: str = "qwen3vl_merger", width: int = WIDTH, tower: Tower = TINY) -> Path:
    """Write a projector of `kind` to `path`, for models of `width`; matrices of a large tower are F16."""
    vision = {
        "image_size": tower.side, "patch_size": PATCH, "projection_dim": width, "embedding_length": tower.width,
        "feed_forward_length": tower.feed, "block_count": tower.blocks, "attention.head_count": tower.heads,
        "attention.layer_norm_epsilon": 1e-6, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
        "projector.scale_factor": MERGE, "spatial_merge_size": MERGE, "preproc_image_size": 2 * tower.side,
    }  # fmt: skip
    keys: Numbers = {"general.architecture": "clip", "clip.has_vision_encoder": True, "clip.use_gelu": True}
    keys |= {"clip.projector_type": kind} | {f"clip.vision.{key}": value for key, value in vision.items()}
    shapes: Shapes = {
        "v.patch_embd.weight": (PATCH, PATCH, 3, tower.width), "v.patch_embd.bias": (tower.width,),
        "v.position_embd.weight": (tower.width, tower.cells),
    }  # fmt: skip
    for at in range(tower.blocks):
        shapes |= _block(f"v.blk.{at}", tower, is_fused=kind == "qwen3vl_merger")
    shapes |= _norm("v.post_ln", tower.width) | JOINTS[kind](tower, width)
    halves = {name for name, shape in shapes.items() if len(shape) > 1 and "position" not in name}
    return write(path, gguf(keys, shapes, _random, halves if tower.width > TINY.width else ()))


def _random(name: str, shape: tuple[int, ...]) -> bytes:
    """Large enough that every pixel of a tiny tower is seen in every vector; norms about 1."""
    values: Any = np.random.default_rng(crc32(name.encode())).standard_normal(shape[::-1], np.float32)
    if "norm" in name or ".ln" in name or "mlp.0" in name:
        values = np.float32(name.endswith("weight")) + values / np.float32(10)
    elif len(shape) > 1 and "position" not in name:
        values *= np.float32((3 if shape[0] < SMALL else 1) / np.prod(shape[:-1]) ** 0.5)
    data: bytes = values.astype(np.float32).tobytes()
    return data


def _block(name: str, tower: Tower, is_fused: bool) -> Shapes:
    parts = _both(f"{name}.attn_qkv", tower.width, 3 * tower.width) if is_fused else {}
    for part in () if is_fused else "qkv":
        parts |= _both(f"{name}.attn_{part}", tower.width, tower.width)
    parts |= _norm(f"{name}.ln1", tower.width) | _norm(f"{name}.ln2", tower.width)
    parts |= _both(f"{name}.attn_out", tower.width, tower.width)
    return parts | _both(f"{name}.ffn_up", tower.width, tower.feed) | _both(f"{name}.ffn_down", tower.feed, tower.width)


if __name__ == "__main__":
    tower, width = SHAPES[sys.argv[1]]
    projector(Path(sys.argv[2]), width=width, tower=tower)
