"""A file is replaced whole: whatever ends its writer, there is the old content or the new one, and it lasts."""

import errno
import os
import stat
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from edgechat.process import atomic

OLD, NEW = b"old" * 1000, b"new" * 2000


def test_the_new_content_takes_the_place_of_the_old(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    for content in (OLD, NEW):
        atomic.replace(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("trouble", [ValueError, OSError, KeyboardInterrupt])
def test_a_writer_that_fails_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, trouble: type[BaseException]
) -> None:
    path = tmp_path / "file.json"
    atomic.replace(path, OLD)
    with pytest.raises(trouble), atomic.replacing(path) as part:
        part.write_bytes(NEW)
        raise trouble
    assert path.read_bytes() == OLD
    assert list(tmp_path.iterdir()) == [path]


def test_a_secret_is_never_in_a_file_that_others_read(tmp_path: Path) -> None:
    """Whatever permissions the part of a killed writer has."""
    path = tmp_path / "keys.json"
    (tmp_path / "keys.json.part").touch(0o644)
    with atomic.replacing(path, mode=0o600) as part:
        assert stat.S_IMODE(part.stat().st_mode) == 0o600
        part.write_bytes(NEW)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_that_lies_in_wait_is_not_followed(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "file.json", tmp_path / "elsewhere"
    elsewhere.write_bytes(OLD)
    (tmp_path / "file.json.part").symlink_to(elsewhere)
    atomic.replace(path, NEW)
    assert (path.read_bytes(), elsewhere.read_bytes()) == (NEW, OLD)


def test_content_is_flushed_before_its_name_and_the_name_before_it_is_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, str]] = []
    rename = os.replace

    def fsync(descriptor: int) -> None:
        done.append(("flush", Path(f"/proc/self/fd/{descriptor}").readlink().name))

    def replace(self: Path, target: Path) -> None:
        done.append(("rename", self.name))
        rename(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    atomic.replace(tmp_path / "file", NEW)
    assert done == [("flush", "file.part"), ("rename", "file.part"), ("flush", tmp_path.name)]
    done.clear()
    atomic.replace(tmp_path / "file", NEW, durable=False)
    assert done == [("rename", "file.part")]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO])
def test_a_file_system_that_flushes_no_folders_is_no_error_and_a_broken_disk_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fsync(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    if number == errno.EIO:
        with pytest.raises(OSError, match="Input/output error"):
            atomic.flush_folder(tmp_path)
    else:
        atomic.flush_folder(tmp_path)


def test_two_processes_may_write_a_shared_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic.replacing(path, shared=True) as ours:
        ours.write_bytes(NEW)
        if _child(lambda: atomic.replace(path, OLD, shared=True)) != 0:
            pytest.fail("the other process was in our way")
        assert path.read_bytes() == OLD
    assert path.read_bytes() == NEW
    assert list(tmp_path.iterdir()) == [path]


def test_a_death_before_every_change_of_the_disk_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    path, deaths = tmp_path / "file", 0
    while True:
        atomic.replace(path, OLD)
        if _child(lambda: atomic.replace(path, NEW), die_at=deaths) == 0:
            break
        assert path.read_bytes() in (OLD, NEW)
        deaths += 1
    assert path.read_bytes() == NEW
    assert deaths > 2


def _child(work: Callable[[], None], die_at: int | None = None) -> int:
    """The exit status of a fork that does `work`, or dies before its change `die_at` of the disk."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads: the child touches none
        child = os.fork()
    if child == 0:
        seen = 0

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal seen
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if writes or event in ("os.rename", "os.remove"):
                if seen == die_at:
                    os._exit(9)
                seen += 1

        sys.addaudithook(count)
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
