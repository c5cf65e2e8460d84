"""Disks that are full or cannot be written: said early, nothing half, and all well again when there is room."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from edgechat.errors import NoSpace, StorageError
from edgechat.hub import publish as publishing
from edgechat.hub import versions
from edgechat.hub.store import Store
from tests.hub.conftest import TINY, Bench, made_up, sha256
from tests.hub.fakehub import FakeHub


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


@pytest.fixture
def small(bench: Bench, tmp_path: Path) -> Iterator[Bench]:
    """A home on a disk of 5 MB."""
    if os.geteuid() != 0:
        pytest.skip("a small disk needs root: mount -t tmpfs")
    home = tmp_path / "small"
    home.mkdir()
    try:
        mount("-t", "tmpfs", "-o", "size=5m", "tmpfs", str(home))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small disk needs the right to mount one")
    yield Bench(bench.hub, bench.settings.model_copy(update={"home": home}), Store(home))
    subprocess.run(["umount", "-l", str(home)], check=True)


async def test_a_disk_that_is_too_small_is_told_before_the_first_byte(small: Bench) -> None:
    with pytest.raises(NoSpace, match=r"needs 69\.2 MB at .* and 5\.\d MB are free"):
        await small.pull(TINY)
    assert not small.hub.files_asked
    assert small.nothing_published


async def test_a_disk_that_fills_up_is_told_and_gone_on_with_when_there_is_room(
    small: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "MARGIN", 0)
    small.hub.hold_at(1 << 20)
    task = asyncio.create_task(small.pull(TINY))
    while small.store.stage(TINY).staged() < 1 << 20:
        assert not task.done()
        await asyncio.sleep(0.02)
    filler = small.settings.home / "filler"
    fill(filler)
    small.hub.release()
    with pytest.raises(NoSpace, match="the disk is full"):
        await task
    assert small.nothing_published
    filler.unlink()
    assert (await small.pull(TINY)).sha256 == sha256(made_up())
    assert small.hub.files_asked[-1].range is not None


async def test_on_a_disk_that_cannot_be_written_what_is_there_is_served(
    small: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "MARGIN", 0)
    stored = await small.pull(TINY)
    mount("-o", "remount,ro", str(small.settings.home))
    assert await small.pull(TINY) == stored
    small.store.ensure(stored)
    with small.store.hold(stored):
        assert small.store.kept()[0].wrong is None
    assert small.store.examine(stored.name) == ()
    for attempt in (
        lambda: versions.remove(small.store, stored.name),
        lambda: versions.pin(small.store, stored.name, True),
        lambda: versions.gc(small.store),
    ):
        with pytest.raises(StorageError, match="Read-only file system"):
            attempt()
    add_another(small.hub)
    with pytest.raises(StorageError, match="Read-only file system"):
        await small.pull("modelscope:Qwen/Other-GGUF")
    assert small.store.list() == [stored]


def add_another(hub: FakeHub) -> None:
    folder = hub.root / "Qwen" / "Other-GGUF"
    folder.mkdir()
    (folder / "other.gguf").write_bytes(made_up(3, 1000))


def fill(path: Path) -> None:
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(1 << 14)):
            pass
