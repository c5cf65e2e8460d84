"""Resource limits: what this machine grants the process, processor, cores, memory.

Cores come from affinity and the cgroup quota, never from the core count: in a container that may use half of two
cores, two threads are several times slower than one.
"""

import math
import os
import platform
import time
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")


def cores(cgroup: Path = CGROUP) -> int:
    """How many threads can run at once here: affinity, cut by the cgroup's CPU quota; at least 1."""
    granted = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(cgroup)
    return granted if quota is None else max(1, min(granted, math.floor(quota)))


def cpu_quota(cgroup: Path = CGROUP) -> float | None:
    """The cgroup's CPU quota in cores (version 2, then 1), or None without one."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
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


def memory_limit(cgroup: Path = CGROUP) -> int:
    """Bytes this process may use: the machine's memory, cut by the cgroup's limit."""
    total = int(psutil.virtual_memory().total)
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            return min(total, int((cgroup / name).read_text()))
        except (OSError, ValueError):
            continue
    return total


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, frozenset[str]]:
    """The processor's name and its feature flags, as the kernel names them; no flags where it does not say."""
    try:
        pairs = (line.partition(":") for line in cpuinfo.read_text().splitlines())
        fields = {key.strip(): value.strip() for key, _, value in pairs}
    except OSError:
        fields = {}
    name = fields.get("model name") or platform.processor() or platform.machine()
    return name, frozenset((fields.get("flags") or fields.get("Features") or "").split())
