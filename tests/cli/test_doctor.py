"""What doctor says of the engine: its build, the kernels of ours in it, and what to do where one is missing."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import edgechat_engine
from edgechat import machine
from edgechat.cli import app
from edgechat.cli.doctor import REBUILD, Check, Engine, engine_checks, examine, probe_engine
from edgechat.settings import Settings
from edgechat_engine.needs import possible

FLAGS = frozenset({"avx2", "fma", "f16c"})
FINE = Engine("1.2.3.4", ("attention",), (), "CPU : AVX2 = 1 | FMA = 1 | F16C = 1")


def checks(engine: Engine, fault: str | None = None) -> dict[str, Check]:
    return {check.name: check for check in engine_checks(FLAGS, engine, fault)}


def test_a_build_that_has_all_is_fine() -> None:
    found = checks(FINE)
    assert {check.verdict for check in found.values()} == {"ok"}
    assert found["engine"].found == "llama.cpp 1.2.3.4"
    assert found["instructions"].found.endswith("AVX2, FMA, F16C")
    assert found["kernels"].found == "attention"


def test_kernels_that_could_be_there_are_named_with_what_to_do() -> None:
    found = checks(Engine("1.2.3.4", (), ("attention",), FINE.system))
    assert found["kernels"].verdict == "warn"
    assert "attention" in found["kernels"].found
    assert found["kernels"].todo == REBUILD


def test_an_engine_that_cannot_be_loaded_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    engine, fault = probe_engine()
    assert fault is not None
    (check,) = checks(engine, "no such library").values()
    assert check.verdict == "fail"
    assert "no such library" in check.found


def test_json_lists_the_kernels_of_this_engine() -> None:
    said = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    assert said["engine"]["kernels"] == list(edgechat_engine.kernels())
    assert said["engine"]["version"].count(".") == 3
    if flags := machine.processor()[1]:
        assert set(said["engine"]["kernels"]) == possible(flags)


def test_no_more_memory_is_free_than_the_control_group_grants(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "memory_limit", lambda: 1 << 30)
    found = {check.name: check.found for check in examine(Settings(home=tmp_path), FINE, None)}
    assert found["memory"].endswith("free of 1.07 GB")
    assert float(found["memory"].split()[0]) <= 1074
