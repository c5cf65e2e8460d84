"""Disks that fill up or turn read-only, where the machine lets us mount them."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def small_disk(at: Path, size: str = "8m") -> Iterator[Path]:
    """An empty disk of that size, in memory. Skips the test where mounting is not allowed."""
    at.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={size}", "edgechat-test", str(at))
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """`disk`, of small_disk, cannot be written for a while."""
    _mount("-o", "remount,ro", str(disk))
    try:
        yield
    finally:
        _mount("-o", "remount,rw", str(disk))


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Not a byte is free on `disk` for a while."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        filler.unlink()


def _mount(*arguments: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
