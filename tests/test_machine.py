import os
from pathlib import Path

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
