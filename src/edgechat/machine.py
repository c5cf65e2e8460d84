"""Resource limits: what this machine grants the process, processor, cores, memory.

Cores come from affinity and the cgroup quota, never from the core count: in a container that may use half of two
cores, two threads are several times slower than one.
"""

import math
import os
import platform
import resource
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
NETWORK = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "fuse.sshfs", "fuse.rclone", "glusterfs", "virtiofs", "webdav")


def groups(controller: str, root: Path = CGROUP, own: Path = OWN) -> Iterator[Path]:
    """Folders of this process's control groups (cgroup v2, v1) for `controller`, its own first, each parent after it.

    A limit stands in any of them: a systemd unit's in its own, a container's at the top of what it sees.
    """
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines() if line.count(":") >= 2]
    except OSError:
        lines = []
    mine = [(kinds, place) for _, kinds, place in lines if not kinds or controller in kinds.split(",")]
    for kinds, place in [*mine, ("", "/"), (controller, "/")]:
        base = root / controller if kinds else root
        parts = [part for part in place.split("/") if part not in ("", "..")]
        yield from (base.joinpath(*parts[:end]) for end in range(len(parts), -1, -1))


def cores(root: Path = CGROUP, own: Path = OWN) -> int:
    """How many threads can run at once here: affinity, cut by the control groups' CPU quota; at least 1."""
    granted = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(root, own)
    return granted if quota is None else max(1, min(granted, math.floor(quota)))


def cpu_quota(root: Path = CGROUP, own: Path = OWN) -> float | None:
    """The tightest CPU quota of the control groups, in cores, or None without one."""
    return min((quota for group in groups("cpu", root, own) if (quota := _quota(group)) is not None), default=None)


def _quota(group: Path) -> float | None:
    try:
        quota, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (group / "cpu.cfs_quota_us").read_text().strip()
            period = (group / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if quota in ("max", "-1"):
        return None
    return int(quota) / int(period)


class Idleness:
    """How many cores had nothing to do, from one call to the next."""

    LONGEST_S = 5.0  # what lies farther back says nothing about now

    def __init__(self) -> None:
        self._at, self._idle = -math.inf, 0.0

    def cores(self) -> float:
        """Since the last call; 0 where that was never, or too long ago."""
        times, now = psutil.cpu_times(), time.monotonic()
        passed, self._at = now - self._at, now
        before, self._idle = self._idle, times.idle
        return (self._idle - before) / passed if 0 < passed < self.LONGEST_S else 0.0


def give_way(nice: int) -> None:
    """Let other threads go before this one, by `nice` as of setpriority(2). Only Linux knows it of a thread."""
    if sys.platform == "linux":
        with suppress(OSError):  # a sandbox may forbid it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)


def memory_limit(root: Path = CGROUP, own: Path = OWN) -> int:
    """Bytes this process may use: the machine's memory, cut by the control groups' limits."""
    limits = [int(psutil.virtual_memory().total)]
    for group in groups("memory", root, own):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):
                limits.append(int((group / name).read_text()))
    return min(limits)


def memory_free(root: Path = CGROUP, own: Path = OWN) -> int:
    """Bytes that are free for the asking: the machine's, cut by what each control group's limit leaves.

    What a group holds of files that were read goes where it is wanted for something else: it counts as free.
    """
    free = [int(psutil.virtual_memory().available)]
    for group in groups("memory", root, own):
        for most, held in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            with suppress(OSError, ValueError):
                limit, used = (int((group / name).read_text()) for name in (most, held))
                free.append(max(0, limit - used + _of_files(group)))
    return min(free)


def _of_files(group: Path) -> int:
    lines = (line.split() for line in (group / "memory.stat").read_text().splitlines())
    found = {name: int(value) for name, value in lines}
    return found.get("total_inactive_file", found.get("inactive_file", 0))


def limit_memory(more: int) -> None:
    """Let this process's address space grow by `more` bytes at most: what asks for more gets a MemoryError."""
    most = psutil.Process().memory_info().vms + more
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def network_filesystem(place: Path) -> str | None:
    """The kind of the network file system that `place` lies on, such as nfs4; None where it lies on none."""
    place = place.expanduser().absolute()
    parents = {str(parent) for parent in (place, *place.parents)}
    mounts = [mount for mount in psutil.disk_partitions(all=True) if mount.mountpoint in parents]
    kind = max(mounts, key=lambda mount: len(mount.mountpoint)).fstype if mounts else ""
    return kind if kind.startswith(NETWORK) else None


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, frozenset[str]]:
    """The processor's name and its feature flags, as the kernel names them; no flags where it does not say."""
    try:
        pairs = (line.partition(":") for line in cpuinfo.read_text().splitlines())
        fields = {key.strip(): value.strip() for key, _, value in pairs}
    except OSError:
        fields = {}
    name = fields.get("model name") or platform.processor() or platform.machine()
    return name, frozenset((fields.get("flags") or fields.get("Features") or "").split())
