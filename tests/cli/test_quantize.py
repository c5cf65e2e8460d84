"""quantize: made here, kept like a pulled model, with its lineage."""

import json
from pathlib import Path

import pytest

from edgechat.bench.likeness import Likeness
from edgechat.gguf.header import read_header
from tests import ggufs, noise, tiny
from tests.cli.conftest import Bench, Command
from tests.gguf.test_quantize import METADATA, SHAPES
from tests.hub.conftest import TINY, TINY_FILE

MADE = "tiny-q4_k_m-q8_0-q4_0"


@pytest.fixture
def pulled(hub: Bench, command: Command) -> Bench:
    hub.put(f"Qwen/Tiny-GGUF/{TINY_FILE}", ggufs.gguf(METADATA, SHAPES))
    assert command("pull", TINY).status == 0
    return hub


def test_the_product_is_kept_with_its_lineage(pulled: Bench, command: Command) -> None:
    ran = command("quantize", "tiny-q4_k_m", "q8_0/q4_0")
    assert ran.status == 0, ran
    assert f"edgechat serve --model {MADE}" in ran.said
    stored = pulled.store.find(MADE)
    assert stored is not None
    assert {tensor.type for tensor in read_header(stored.path).tensors} == {"Q8_0", "Q4_0", "F32"}
    row = next(row for row in json.loads(command("models", "--json").said) if row["name"] == MADE)
    assert row["made_from"].startswith("tiny-q4_k_m (SHA-256 ")
    assert row["made_from"].endswith(" as Q8_0/Q4_0")
    assert command("verify", MADE).status == 0
    assert "made here" in command("update", MADE).said
    assert not [path for path in pulled.store.staging.iterdir() if path.is_dir()]

    # The original is still what its reference names, and the product cannot be fetched again.
    assert command("pull", TINY).said.startswith("tiny-q4_k_m is ready")
    stored.path.unlink()
    ran = command("pull", MADE)
    assert ran.status == 1
    assert "Make it again: edgechat quantize" in ran.complained


def test_rounding_twice_asks_for_leave(pulled: Bench, command: Command) -> None:
    assert command("quantize", "tiny-q4_k_m", "q8_0/q4_0").status == 0
    assert command("quantize", "tiny-q4_k_m", "q4_0/q4_0").status == 0
    ran = command("quantize", "tiny-q4_k_m-q4_0-q4_0", "q8_0")
    assert (ran.status, ran.complained.count("\n")) == (2, 1)
    assert "--allow-requantize" in ran.complained
    assert command("quantize", "tiny-q4_k_m-q4_0-q4_0", "q8_0", "--allow-requantize").status == 0


def test_an_unknown_type_is_a_usage_error(pulled: Bench, command: Command) -> None:
    ran = command("quantize", "tiny-q4_k_m", "q9")
    assert ran.status == 2
    assert "unknown quantisation 'Q9'" in ran.complained


@pytest.mark.parametrize(
    ("found", "said", "kinds"),
    [
        (Likeness(0.9996, 1.8), "has eight bits now: 1.8 times as fast, cosine 0.9996", {"Q8_0", "F32"}),
        (Likeness(0.98, 1.8), "stays as it is: in eight bits it would be 1.8 times as fast, cosine 0.9800", {"F32"}),
    ],
)
def test_a_model_keeps_its_eyes(
    found: Likeness,
    said: str,
    kinds: set[str],
    hub: Bench,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("edgechat.bench.likeness.compare", lambda *_: found)
    folder = tmp_path / "seeing"
    folder.mkdir()
    tiny.model(folder / "seeing.gguf", "qwen35", embedding_length=256, feed_forward_length=256)
    noise.projector(folder / "mmproj-seeing.gguf", width=256)
    ran = command("quantize", str(folder), "q8_0")
    assert ran.status == 0, ran
    assert said in ran.said
    stored = hub.store.find("seeing-q8_0")
    assert stored is not None
    (projector,) = stored.companions
    assert {tensor.type for tensor in read_header(projector).tensors} == kinds
    row = next(row for row in json.loads(command("models", "--json").said) if row["name"] == "seeing-q8_0")
    assert row["senses"] == ["picture"]
