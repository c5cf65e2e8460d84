"""Writing a model again in other types: in a child, with its progress, and nothing left where it fails."""

import asyncio
import os
import subprocess
from pathlib import Path

import psutil
import pytest

from edgechat.errors import ConfigError, EngineFailed, ModelFileInvalid, NoSpace, UnknownName
from edgechat.gguf.header import read_header
from edgechat.gguf.quantize import Recipe, quantize
from tests import ggufs

SHAPES = {"token_embd.weight": (64, 96), "output_norm.weight": (64,), "blk.0.ffn_up.weight": (64, 128)}
METADATA = {
    "general.architecture": "llama",
    "llama.block_count": 1,
    "llama.context_length": 64,
    "llama.embedding_length": 64,
    "llama.feed_forward_length": 128,
    "llama.attention.head_count": 2,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A model of three tensors in F32."""
    return ggufs.write(tmp_path / "tiny.gguf", ggufs.gguf(METADATA, SHAPES))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def types(path: Path) -> dict[str, str]:
    return {tensor.name: tensor.type for tensor in read_header(path).tensors}


@pytest.mark.parametrize(
    ("text", "recipe"),
    [
        ("q4_0", Recipe("Q4_0")),
        ("IQ4_NL/iq4_nl", Recipe("IQ4_NL", "IQ4_NL")),
        ("Q4_K_M/Q6_K", Recipe("Q4_K_M", "Q6_K")),
    ],
)
def test_a_recipe_is_a_body_and_perhaps_a_head(text: str, recipe: Recipe) -> None:
    assert Recipe.parse(text) == recipe
    assert Recipe.parse(str(recipe)) == recipe


@pytest.mark.parametrize("text", ["", "Q4", "Q4_0/", "Q4_0/Q4_K_M", "Q4_0/I8"])
def test_an_unknown_type_is_refused(text: str) -> None:
    with pytest.raises(UnknownName):
        Recipe.parse(text)


async def test_body_and_head_get_their_types_and_progress_is_told(source: Path, tmp_path: Path) -> None:
    target, told = tmp_path / "out.gguf", list[float]()
    await quantize(source, target, Recipe("Q8_0", "Q4_0"), 1, tell=told.append)
    assert types(target) == {
        "token_embd.weight": "Q4_0",  # tied: the head is the embedding
        "output_norm.weight": "F32",
        "blk.0.ffn_up.weight": "Q8_0",
    }
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert names(tmp_path) == ["out.gguf", "tiny.gguf"]


async def test_rounding_twice_asks_for_leave(source: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "q4.gguf", tmp_path / "q8.gguf"
    await quantize(source, first, Recipe("Q4_0", "Q4_0"), 1)
    with pytest.raises(ConfigError, match=r"source is Q4_0 already.*--allow-requantize"):
        await quantize(first, second, Recipe("Q8_0"), 1)
    await quantize(first, second, Recipe("Q8_0"), 1, allow_requantize=True)
    assert types(second)["blk.0.ffn_up.weight"] == "Q8_0"


async def test_what_is_no_model_is_refused_before_any_process(tmp_path: Path) -> None:
    path = ggufs.write(tmp_path / "page.gguf", b"<html>")
    with pytest.raises(ModelFileInvalid):
        await quantize(path, tmp_path / "out.gguf", Recipe("Q8_0"), 1)


async def test_what_llama_cpp_refuses_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    path = ggufs.write(tmp_path / "odd.gguf", ggufs.gguf({"general.architecture": "unheard-of"}, SHAPES))
    with pytest.raises(EngineFailed, match=r"could not quantise odd\.gguf: unknown model architecture") as caught:
        await quantize(path, tmp_path / "out.gguf", Recipe("Q8_0"), 1)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["odd.gguf"]


async def test_room_is_checked_before_the_first_byte(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgechat.process.disk.MARGIN", 1 << 60)
    with pytest.raises(NoSpace, match="are free"):
        await quantize(source, tmp_path / "out.gguf", Recipe("Q8_0"), 1)
    assert names(tmp_path) == ["tiny.gguf"]


async def test_cancelled_it_ends_the_child_and_leaves_nothing(tmp_path: Path) -> None:
    shapes = SHAPES | {"blk.0.ffn_up.weight": (64, 1 << 19)}
    path = ggufs.write(tmp_path / "big.gguf", ggufs.gguf(METADATA, shapes))
    before = {child.pid for child in psutil.Process().children()}
    task = asyncio.create_task(quantize(path, tmp_path / "out.gguf", Recipe("IQ4_NL"), 1))
    part = tmp_path / "out.gguf.part"
    while not (part.exists() and part.stat().st_size):
        assert not task.done()
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert {child.pid for child in psutil.Process().children()} == before
    assert names(tmp_path) == ["big.gguf"]


async def test_the_child_gets_no_secret(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, str]] = []
    start = subprocess.Popen

    def watched(*command: str, **how: object) -> object:
        seen.append(how["env"])  # type: ignore[arg-type]
        return start(*command, **how)  # type: ignore[call-overload]

    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "secret")
    monkeypatch.setattr(subprocess, "Popen", watched)
    await quantize(source, tmp_path / "out.gguf", Recipe("Q8_0"), 1)
    assert seen
    assert not any("secret" in environment.values() for environment in seen)
    assert all(environment["PATH"] == os.environ["PATH"] for environment in seen)
