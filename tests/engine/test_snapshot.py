"""What a folder of safetensors tells before it is loaded, and that no folder can make that fail but in one line."""

import json
import random
from pathlib import Path

import pytest

from edgechat.engine.torch import snapshot
from edgechat.errors import ConfigError, ModelFileInvalid

CONFIG = {
    "model_type": "qwen2",
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "hidden_size": 896,
    "vocab_size": 1000,
    "max_position_embeddings": 8192,
}
TENSORS = {"a": {"dtype": "BF16", "shape": [1000, 896], "data_offsets": [0, 1792000]}}
CELL = 2 * 24 * 2 * 64 * 4  # bytes of a token's keys and values


def header(tensors: object) -> bytes:
    data = json.dumps(tensors).encode()
    return len(data).to_bytes(8, "little") + data


def folder(path: Path, config: object = CONFIG, **weights: bytes) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    for name, data in (weights or {"model": header(TENSORS)}).items():
        (path / f"{name}.safetensors").write_bytes(data)
    return path


def test_parameters_are_counted_over_all_files(tmp_path: Path) -> None:
    parts = {"model-1": header({"__metadata__": {"format": "pt"}} | TENSORS), "model-2": header(TENSORS)}
    found = snapshot.Forecast(folder(tmp_path / "m", **parts)).describe(0)
    assert found.parameters == 2 * 1000 * 896
    assert (found.vocabulary, found.recipe, found.context) == (1000, "F32", 4096)


def test_memory_is_that_of_float32(tmp_path: Path) -> None:
    read = snapshot.read(folder(tmp_path / "m"))
    assert read.shape.cell == CELL
    small, large = (read.plan(context, 4 << 30) for context in (512, 1024))
    assert large.bytes - small.bytes == 512 * snapshot.CONVERSATIONS * CELL
    assert small.bytes > snapshot.PROCESS + 1000 * 896 * 4


def test_what_does_not_fit_is_refused_with_the_number_that_would(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"it takes --memory \d\.\d\dGB"):
        snapshot.Forecast(folder(tmp_path / "m")).plan(4096, 100 << 20)


def test_heads_may_have_a_width_of_their_own(tmp_path: Path) -> None:
    assert snapshot.read(folder(tmp_path / "m", CONFIG | {"head_dim": 128})).shape.cell == 2 * CELL


def test_pickled_weights_are_taken_for_half_precision(tmp_path: Path) -> None:
    path = folder(tmp_path / "m", CONFIG)
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    read = snapshot.read(path)
    assert not read.safe
    assert read.weights == (path / "pytorch_model.bin").stat().st_size // 2


@pytest.mark.parametrize(
    ("config", "weights", "why"),
    [
        ({"model_type": "mamba"}, header(TENSORS), "no model of layers with attention"),
        ([], header(TENSORS), "no model of layers"),
        (CONFIG | {"num_hidden_layers": "many"}, header(TENSORS), "no model of layers"),
        (CONFIG | {"num_hidden_layers": 0}, header(TENSORS), "a shape that cannot be"),
        (CONFIG | {"num_attention_heads": 4096}, header(TENSORS), "a shape that cannot be"),
        (CONFIG | {"head_dim": -1}, header(TENSORS), "a shape that cannot be"),
        (CONFIG | {"max_position_embeddings": 0}, header(TENSORS), "a shape that cannot be"),
        (CONFIG | {"vocab_size": 1 << 62}, header(TENSORS), "a shape that cannot be"),
        (CONFIG, header({}), "no weights"),
        (CONFIG, header({"a": {"dtype": "I8", "shape": [4]}}), "only float weights"),
        (CONFIG, header({"a": {"dtype": "F32", "shape": ["x"]}}), "no model of layers"),
        (CONFIG, header({"a": 3}), "no model of layers"),
        (CONFIG, header([]), "no model of layers"),
        (CONFIG, b"", "no safetensors file"),
        (CONFIG, (1 << 40).to_bytes(8, "little") + b"{}", "no safetensors file"),
        (CONFIG, (2).to_bytes(8, "little") + b"{{", "no model of layers"),
        (CONFIG, (9000).to_bytes(8, "little") + b"[" * 9000, "no model of layers"),
    ],
)
def test_a_folder_that_is_no_model_is_refused_in_one_line(
    config: object, weights: bytes, why: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelFileInvalid, match=why) as refused:
        snapshot.read(folder(tmp_path / "m", config, model=weights))
    assert "\n" not in str(refused.value)


def test_a_file_or_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelFileInvalid, match="no folder"):
        snapshot.read(tmp_path / "m.gguf")
    with pytest.raises(ModelFileInvalid, match=r"config\.json cannot be read"):
        snapshot.read(tmp_path)


def test_damage_is_told_and_never_thrown(tmp_path: Path) -> None:
    """500 folders with a few bytes changed: each is read or refused."""
    chance, path = random.Random(5), folder(tmp_path / "m")
    for name in ("config.json", "model.safetensors"):
        whole = (path / name).read_bytes()
        for _ in range(250):
            broken = bytearray(whole)
            for _ in range(chance.randint(1, 4)):
                broken[chance.randrange(len(broken))] = chance.randrange(256)
            (path / name).write_bytes(broken)
            try:
                snapshot.Forecast(path).describe(0)
            except (ModelFileInvalid, ConfigError) as error:
                assert "\n" not in str(error)
        (path / name).write_bytes(whole)
