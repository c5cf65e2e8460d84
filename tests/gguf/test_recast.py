"""Writing a model again in other types: what ggml's own quantiser writes, whole or not at all."""

import ctypes
import os
from pathlib import Path

import pytest

from edgechat.engine.llama.engine import LlamaCpp
from edgechat.errors import ModelFileInvalid, NoSpace
from edgechat.gguf.header import read_header
from edgechat.gguf.recast import recast, twin
from edgechat.gguf.shape import attending, depth
from edgechat.tune import recipes
from edgechat.tune.recipes import Recipe
from edgechat_engine import lib
from tests import tiny

pytestmark = pytest.mark.model
FTYPES = {"Q4_0": 2, "Q8_0": 7}


@pytest.fixture(scope="module")
def small(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shape of SmolLM2 with two layers, full of noise."""
    path = tmp_path_factory.mktemp("recast") / "small.gguf"
    twin(smollm2, path, 2, lambda _tensor: "Q8_0")
    return path


def types(path: Path, kind: str) -> dict[str, str]:
    return dict.fromkeys(recipes.types(read_header(path), Recipe(kind, kind)), kind)


def tensors(path: Path) -> dict[str, tuple[str, bytes]]:
    data = path.read_bytes()
    return {
        tensor.name: (tensor.type, data[tensor.offset : tensor.offset + tensor.size])
        for tensor in read_header(path).tensors
        if tensor.size is not None
    }


@pytest.mark.parametrize("kind", FTYPES)
def test_it_writes_what_ggmls_own_quantiser_writes(small: Path, tmp_path: Path, kind: str) -> None:
    ours, theirs = tmp_path / "ours.gguf", tmp_path / "theirs.gguf"
    recast(small, ours, types(small, kind), 2)
    parameters = lib.llama_model_quantize_default_params()
    parameters.ftype, parameters.pure, parameters.allow_requantize = FTYPES[kind], True, True
    assert lib.llama_model_quantize(os.fsencode(small), os.fsencode(theirs), ctypes.byref(parameters)) == 0
    assert tensors(ours) == tensors(theirs)


def test_the_keys_stay_and_the_engine_takes_it(small: Path, tmp_path: Path) -> None:
    target = tmp_path / "new.gguf"
    recast(small, target, types(small, "IQ4_NL"), 2)
    assert read_header(target).metadata == read_header(small).metadata
    engine = LlamaCpp(target, 64, 0, 1, lambda _: None)
    assert engine.logits(0, 0, [1, 2]).shape == (2, engine.info.vocabulary)
    engine.close()


def test_what_a_relative_has_is_copied(small: Path, tmp_path: Path) -> None:
    first, second, whole = (tmp_path / f"{name}.gguf" for name in ("first", "second", "whole"))
    recast(small, first, types(small, "Q4_0"), 2)
    mixed = types(small, "Q4_0") | {recipes.head(read_header(small)): "IQ4_NL"}
    recast(small, second, mixed, 2, [first])
    recast(small, whole, mixed, 2)
    assert second.read_bytes() == whole.read_bytes()


def test_a_twin_has_the_layers_and_types_that_were_asked_for(smollm2: Path, tmp_path: Path) -> None:
    path = tmp_path / "twin.gguf"
    twin(smollm2, path, 3, lambda _tensor: "IQ4_NL")
    header = read_header(path)
    assert header.number("block_count") == 3
    assert {tensor.type for tensor in header.tensors if len(tensor.shape) > 1} == {"IQ4_NL"}
    LlamaCpp(path, 64, 0, 1, lambda _: None).close()


def test_a_full_disk_leaves_nothing(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: object) -> os.statvfs_result:
        return os.statvfs_result((4096, 4096, 100, 10, 10, 1, 1, 1, 0, 255))

    monkeypatch.setattr(os, "statvfs", full)
    with pytest.raises(NoSpace, match="free"):
        recast(small, tmp_path / "new.gguf", types(small, "Q4_0"), 2)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_while_it_writes_leaves_nothing(small: Path, tmp_path: Path) -> None:
    def told(done: int, total: int) -> None:
        if done > total / 2:
            raise OSError(28, "No space left on device")

    with pytest.raises(NoSpace, match="the disk is full"):
        recast(small, tmp_path / "new.gguf", types(small, "Q4_0"), 2, told=told)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.gguf"
    page.write_text("<!doctype html>")
    with pytest.raises(ModelFileInvalid):
        recast(page, tmp_path / "new.gguf", {}, 1)


def test_a_twin_of_a_recurrent_model_keeps_what_no_block_divides(tmp_path: Path) -> None:
    """The rows of its convolution are four weights long."""
    path = tmp_path / "twin.gguf"
    twin(tiny.model(tmp_path / "m.gguf", "qwen35", block_count=4), path, 2, lambda tensor: recipes.cast(tensor, "Q8_0"))
    types = {tensor.name: tensor.type for tensor in read_header(path).tensors}
    assert (types["blk.0.ssm_conv1d.weight"], types["blk.0.ssm_out.weight"]) == ("F32", "Q8_0")
    LlamaCpp(path, 128, 0, 1, lambda _: None).close()


def test_a_twin_of_a_model_that_drafts_has_as_many_layers_as_were_asked_for(tmp_path: Path) -> None:
    source = tiny.model(tmp_path / "m.gguf", "qwen35", block_count=5, nextn_predict_layers=1)
    path = tmp_path / "twin.gguf"
    twin(source, path, 2, lambda tensor: recipes.cast(tensor, "Q8_0"))
    assert (depth(read_header(source)), depth(read_header(path))) == (4, 2)
    assert attending(read_header(path)) == [1]
    LlamaCpp(path, 128, 0, 1, lambda _: None).close()
