"""Projectors in eight bits: what becomes smaller, what stays, what is refused."""

from pathlib import Path

import pytest

from edgechat.errors import ModelUnsupported
from edgechat.gguf import eyes
from edgechat.gguf.header import read_header
from tests import ggufs, noise


def test_matrices_become_smaller_and_nothing_else(tmp_path: Path) -> None:
    source, target = noise.projector(tmp_path / "mmproj.gguf"), tmp_path / "small.gguf"
    eyes.shrink(source, target, 2)
    before, after = read_header(source), read_header(target)
    assert after.metadata == before.metadata
    types = {tensor.name: tensor.type for tensor in after.tensors}
    assert {name for name, kind in types.items() if kind == "Q8_0"} == {
        tensor.name
        for tensor in before.tensors
        if tensor.name.endswith(".weight") and len(tensor.shape) == 2 and "position" not in tensor.name
    }
    assert set(types.values()) == {"Q8_0", "F32"}
    with pytest.raises(ModelUnsupported, match="eight bits or less"):
        eyes.shrink(target, tmp_path / "smaller.gguf", 2)


def test_a_tower_that_is_known_to_break_is_left_alone(tmp_path: Path) -> None:
    keys = {"general.architecture": "clip", "clip.projector_type": "qwen2.5vl_merger"}
    source = ggufs.write(tmp_path / "mmproj.gguf", ggufs.gguf(keys, {"v.blk.0.ffn_up.weight": (32, 64)}))
    with pytest.raises(ModelUnsupported, match=r"qwen2\.5vl_merger see wrong in eight bits"):
        eyes.shrink(source, tmp_path / "small.gguf", 1)
    assert not (tmp_path / "small.gguf").exists()
