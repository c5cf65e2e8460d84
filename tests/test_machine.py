import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgechat import machine


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "50000 100000"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "100000"}, 1.5),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_the_quota_is_read_from_both_versions(tmp_path: Path, files: dict[str, str], quota: float | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert machine.cpu_quota(tmp_path) == quota
    granted = len(os.sched_getaffinity(0))
    assert machine.cores(tmp_path) == (granted if quota is None else max(1, min(granted, int(quota))))


def test_a_memory_limit_cuts_what_the_machine_has(tmp_path: Path) -> None:
    whole = machine.memory_limit(tmp_path)
    (tmp_path / "memory.max").write_text("1000000")
    assert machine.memory_limit(tmp_path) == 1_000_000 < whole
    (tmp_path / "memory.max").write_text("max")
    assert machine.memory_limit(tmp_path) == whole


def test_the_processor_is_named(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("model name\t: Some CPU\nflags\t\t: avx2 fma\n")
    assert machine.processor(cpuinfo) == ("Some CPU", frozenset({"avx2", "fma"}))
    name, flags = machine.processor(tmp_path / "none")
    assert name
    assert flags == frozenset()


def test_idle_cores_are_told_from_one_look_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([(100.0, 50.0), (101.0, 51.5), (102.0, 51.5), (110.0, 59.0)])  # seconds, idle seconds of all cores
    now = [(0.0, 0.0)]
    monkeypatch.setattr("edgechat.machine.time.monotonic", lambda: now[0][0])
    monkeypatch.setattr("edgechat.machine.psutil.cpu_times", lambda: SimpleNamespace(idle=now[0][1]))
    idleness, found = machine.Idleness(), []
    for now[0] in looks:
        found.append(idleness.cores())
    assert found == [0.0, 1.5, 0.0, 0.0]  # never before; one and a half; none; too long ago
