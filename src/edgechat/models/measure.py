"""Resident memory: what a process and everything it started really take."""

from pathlib import Path

import psutil

PROC = Path("/proc")


def tree_bytes(pid: int, proc: Path = PROC) -> int:
    """Proportional set size of `pid` and its descendants: pages that several share count in parts.

    0 where it cannot be told: on another system, or when the process is gone.
    """
    try:
        family = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.Error:
        return 0
    return sum(_pss(proc / str(one) / "smaps_rollup") for one in family)


def _pss(rollup: Path) -> int:
    try:
        lines = rollup.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:")), 0)
