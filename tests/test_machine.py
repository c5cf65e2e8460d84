import os
import sys
import threading
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
    none = tmp_path / "none"  # no control group of this process counts here
    assert machine.cpu_quota(tmp_path, none) == quota
    granted = len(os.sched_getaffinity(0))
    assert machine.cores(tmp_path, none) == (granted if quota is None else max(1, min(granted, int(quota))))


SLICE = "system.slice/edgechat.service"
VERSION_1 = f"5:cpu,cpuacct:/{SLICE}\n3:memory:/{SLICE}\n1:name=systemd:/x\n"


@pytest.mark.parametrize(
    ("own", "files", "quota", "memory"),
    [
        (f"0::/{SLICE}", {f"{SLICE}/cpu.max": "50000 100000", f"{SLICE}/memory.max": "1000"}, 0.5, 1000),
        (f"0::/{SLICE}", {f"{SLICE}/cpu.max": "max 100000", "system.slice/cpu.max": "150000 100000"}, 1.5, None),
        (f"0::/{SLICE}", {f"{SLICE}/memory.max": "3000", "system.slice/memory.max": "2000"}, None, 2000),
        (f"0::/{SLICE}", {"cpu.max": "100000 100000"}, 1.0, None),  # a container that sees its own as the root
        ("0::/../../other", {"cpu.max": "100000 100000", "other/memory.max": "4000"}, 1.0, 4000),
        (
            VERSION_1,
            {
                f"cpu/{SLICE}/cpu.cfs_quota_us": "50000",
                f"cpu/{SLICE}/cpu.cfs_period_us": "100000",
                f"memory/{SLICE}/memory.limit_in_bytes": "1000",
                "memory/memory.limit_in_bytes": str(1 << 62),
            },
            0.5,
            1000,
        ),
        ("nonsense", {"memory.max": "5000"}, None, 5000),
        ("", {}, None, None),
    ],
)
def test_a_limit_counts_wherever_it_stands_on_the_way_to_the_root(
    tmp_path: Path, own: str, files: dict[str, str], quota: float | None, memory: int | None
) -> None:
    root, groups = tmp_path / "cgroup", tmp_path / "own"
    root.mkdir()
    groups.write_text(own)
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    assert machine.cpu_quota(root, groups) == quota
    assert machine.memory_limit(root, groups) == (memory or machine.memory_limit(tmp_path / "none", groups))


def test_a_memory_limit_cuts_what_the_machine_has(tmp_path: Path) -> None:
    whole = machine.memory_limit(tmp_path)
    (tmp_path / "memory.max").write_text("1000000")
    assert machine.memory_limit(tmp_path) == 1_000_000 < whole
    (tmp_path / "memory.max").write_text("max")
    assert machine.memory_limit(tmp_path) == whole


@pytest.mark.parametrize(
    ("most", "held", "files"),
    [
        ("memory.max", "memory.current", "anon 5\ninactive_file 100000\n"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "inactive_file 7\ntotal_inactive_file 100000\n"),
    ],
)
def test_what_a_control_group_leaves_is_free(tmp_path: Path, most: str, held: str, files: str) -> None:
    assert machine.memory_free(tmp_path) > 1_000_000
    for name, text in {most: "1000000", held: "700000", "memory.stat": files}.items():
        (tmp_path / name).write_text(text)
    assert machine.memory_free(tmp_path) == 400_000
    (tmp_path / held).write_text("1200000")
    assert machine.memory_free(tmp_path) == 0
    (tmp_path / most).write_text("max")
    assert machine.memory_free(tmp_path) > 1_000_000


def test_the_processor_is_named(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("model name\t: Some CPU\nflags\t\t: avx2 fma\n")
    assert machine.processor(cpuinfo) == ("Some CPU", frozenset({"avx2", "fma"}))
    name, flags = machine.processor(tmp_path / "none")
    assert name
    assert flags == frozenset()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_a_thread_gives_way_alone() -> None:
    found = []

    def told() -> None:
        machine.give_way(19)
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    before = os.getpriority(os.PRIO_PROCESS, 0)
    thread = threading.Thread(target=told)
    thread.start()
    thread.join()
    assert found == [19]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_idle_cores_are_told_from_one_look_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([(100.0, 50.0), (101.0, 51.5), (102.0, 51.5), (110.0, 59.0)])  # seconds, idle seconds of all cores
    now = [(0.0, 0.0)]
    monkeypatch.setattr("edgechat.machine.time.monotonic", lambda: now[0][0])
    monkeypatch.setattr("edgechat.machine.psutil.cpu_times", lambda: SimpleNamespace(idle=now[0][1]))
    idleness, found = machine.Idleness(), []
    for now[0] in looks:
        found.append(idleness.cores())
    assert found == [0.0, 1.5, 0.0, 0.0]  # never before; one and a half; none; too long ago


@pytest.mark.parametrize(
    ("kind", "found"), [("nfs4", "nfs4"), ("cifs", "cifs"), ("fuse.sshfs", "fuse.sshfs"), ("ext4", None)]
)
def test_a_network_file_system_is_recognised(monkeypatch: pytest.MonkeyPatch, kind: str, found: str | None) -> None:
    mounts = [SimpleNamespace(mountpoint="/", fstype="nfs"), SimpleNamespace(mountpoint="/home/x", fstype=kind)]
    monkeypatch.setattr("edgechat.machine.psutil.disk_partitions", lambda **_: mounts)
    assert machine.network_filesystem(Path("/home/x/edgechat/new")) == found
    assert machine.network_filesystem(Path("/home/xy")) == "nfs"
