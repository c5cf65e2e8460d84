"""A model beside its own weights in float32, and the command that repeats it on real ones."""

import json
import sys
from pathlib import Path

import pytest

from edgechat import cli
from edgechat.bench import family
from edgechat.gguf.header import read_header
from edgechat.gguf.recast import recast
from tests import tiny

Capture = pytest.CaptureFixture[str]


def edgechat(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit status of `edgechat bench family ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["edgechat", "bench", "family", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.fixture
def rounded(tmp_path: Path) -> Path:
    """A tiny model in four bits."""
    exact = tiny.model(tmp_path / "exact.gguf", "llama")
    types = {tensor.name: "Q4_0" for tensor in read_header(exact).tensors if len(tensor.shape) > 1}
    recast(exact, tmp_path / "rounded.gguf", types, threads=1)
    return tmp_path / "rounded.gguf"


async def test_a_file_is_held_to_its_own_weights_in_32_bits(rounded: Path, tmp_path: Path) -> None:
    (tmp_path / "exact").mkdir()
    exact = await family.judged(tmp_path / "exact.gguf", tmp_path / "exact", 1)
    assert exact.kld < 1e-4
    assert exact.same_top > 0.99
    (tmp_path / "rounded").mkdir()
    found = await family.judged(rounded, tmp_path / "rounded", 1)
    assert exact.kld < found.kld < 0.2  # activations in eight bits; the weights are the very same
    assert list((tmp_path / "rounded").glob("*.part")) == []


def test_the_command_measures_and_compares(rounded: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(family, "PROBED", ("size",))
    assert edgechat(monkeypatch, str(rounded), "--runs", "1", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [probe["name"] for probe in found["models"]["probes"]] == ["size"]
    assert found["float32"]["A"]["kld"] > 0
    assert found["unjudged"] == {}


def test_a_model_that_is_not_there_is_told_and_fails(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(family, "PROBED", ("size",))
    assert edgechat(monkeypatch, "none.gguf") == 1
    assert "was not compared with float32" in capsys.readouterr().out
    assert edgechat(monkeypatch) == 2
