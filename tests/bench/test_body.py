"""What a server takes of the machine, read from the system."""

import os
import sys
from pathlib import Path

import psutil
import pytest

from edgechat.bench import alone, body
from edgechat.bench.client import Client, Unmeasured, address
from edgechat.bench.probes import PROBES
from tests.bench.conftest import Serve
from tests.bench.scripted import Script


async def test_memory_is_that_of_the_process_behind_the_address(serve: Serve) -> None:
    async with Client(address("A", serve(Script()))) as client:
        assert body.listener(client.address.port).pid == os.getpid()  # the scripted server is a thread of ours
        found = await body.memory(client)
    own = psutil.Process().memory_full_info().pss / 1e6
    assert 0.5 * own < found["idle"] <= found["most"] < 2 * own + 500


async def test_a_server_of_somebody_else_is_told() -> None:
    with pytest.raises(Unmeasured, match="listens on port"):
        body.listener(1)


async def test_children_count() -> None:
    before = body.pss(psutil.Process())
    block = "x = bytearray(50_000_000); print('ready', flush=True); input()"
    with psutil.Popen([sys.executable, "-c", block], stdin=-1, stdout=-1) as child:
        assert child.stdout.readline().strip() == b"ready"
        assert body.pss(psutil.Process()) > before + 40_000_000
        child.stdin.close()


async def test_energy_per_token(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "ANSWER", alone.ANSWER)
    readings = iter((100.0, 148.0))
    monkeypatch.setattr(body, "joules", lambda: next(readings))
    async with Client(address("A", serve(Script()))) as client:
        found = await body.energy(client)
    assert found["token"] == pytest.approx(48 / alone.ANSWER)
    assert found["watts"] > 0


def test_the_packages_counters_are_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package, micro in enumerate((1_500_000, 500_000)):
        (tmp_path / f"intel-rapl:{package}").mkdir()
        (tmp_path / f"intel-rapl:{package}" / "energy_uj").write_text(f"{micro}\n")
    assert body.joules(tmp_path) == 2.0
    with pytest.raises(Unmeasured, match="energy counter"):
        body.joules(tmp_path / "none")
    monkeypatch.setattr(body, "counters", list)
    assert "energy counter" in (PROBES["energy"].missing(Client(address("A", "http://127.0.0.1:1")), []) or "")
