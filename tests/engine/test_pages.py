"""Pages that are given back: gone from this process's memory, and the same when they are looked at again."""

import mmap
from pathlib import Path

import pytest

from edgechat.engine.llama import pages

PAGE = mmap.PAGESIZE
SIZE = 64 * PAGE


def resident(path: Path) -> int:
    """Bytes of the file that are in this process's memory."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    for line in lines:
        if line.endswith(str(path)):
            return next(int(more.split()[1]) << 10 for more in lines if more.startswith("Rss:"))
    raise AssertionError(f"{path} is not mapped")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    if not pages.MAPS.exists():
        pytest.skip("this system does not tell what is mapped")
    path = tmp_path / "a model.gguf"
    path.write_bytes(bytes(range(256)) * (SIZE // 256))
    return path


def test_whole_pages_are_given_back_and_come_again(path: Path) -> None:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        whole = bytes(data)
        assert resident(path) == SIZE
        given = pages.give_back(path, [(1, 10 * PAGE), (20 * PAGE, 10 * PAGE), (63 * PAGE, 5 * PAGE), (SIZE, PAGE)])
        assert given == (9 + 10 + 1) * PAGE  # the page that begins before the stretch belongs to another, too
        assert resident(path) == SIZE - given
        assert bytes(data) == whole


def test_a_file_that_is_mapped_from_its_middle(path: Path) -> None:
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 8 * PAGE, access=mmap.ACCESS_READ, offset=16 * PAGE) as data,
    ):
        assert len(bytes(data)) == 8 * PAGE
        assert pages.give_back(path, [(0, 18 * PAGE), (23 * PAGE, 9 * PAGE)]) == 3 * PAGE


def test_what_is_not_mapped_and_a_system_that_does_not_tell(path: Path, tmp_path: Path) -> None:
    assert pages.give_back(path, [(0, SIZE)]) == 0
    assert pages.give_back(path, [(0, SIZE)], maps=tmp_path / "none") == 0
