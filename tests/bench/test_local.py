"""A model is served while it is measured, restarted where a probe asks for it, and nothing of it is left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from edgechat import cli
from tests.conftest import FakeModel

PROGRAM = "from edgechat.cli import main; main()"


def serving(script: Path) -> list[psutil.Process]:
    """The servers over `script`."""
    return [one for one in psutil.process_iter(["cmdline"]) if {"serve", str(script)} <= set(one.info["cmdline"] or ())]


def edgechat(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit status of `edgechat bench ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["edgechat", "bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_a_model_is_served_restarted_and_put_away(
    fake_model: FakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = fake_model(reply="one two three four five six")
    probes = ["--probe", "turns", "--probe", "startup", "--runs", "1"]
    assert edgechat(monkeypatch, str(script), "--serve", "--engine fake", *probes, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["addresses"][0]["command"] == f"edgechat serve --model {script} --engine fake"
    turns, startup = document["probes"]
    assert turns["figures"] and startup["figures"][0]["name"] == "ready"
    assert not serving(script)
    assert not list((tmp_path / "home").glob("bench-*"))


def test_a_model_that_cannot_be_served_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert edgechat(monkeypatch, str(tmp_path / "none.gguf"), "--probe", "turns") == 2
    written = capsys.readouterr()
    assert "there is no model file at" in written.err.splitlines()[-1]
    assert not list((tmp_path / "home").glob("bench-*"))


def test_a_bench_that_is_ended_ends_its_servers(fake_model: FakeModel, tmp_path: Path) -> None:
    script = fake_model(reply="one two three", step_ms=20)
    command = [sys.executable, "-c", PROGRAM, "bench", str(script), "--serve", "--engine fake", "--probe", "soak"]
    with subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as bench:
        assert bench.stderr is not None
        while "soak: run 1" not in bench.stderr.readline():
            assert bench.poll() is None
        os.kill(bench.pid, signal.SIGTERM)
        out, _ = bench.communicate(timeout=60)
    assert bench.returncode == 130
    assert json.loads(out)["addresses"]
    deadline = time.monotonic() + 30
    while serving(script) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not serving(script)
    assert not list((tmp_path / "home").glob("bench-*"))
