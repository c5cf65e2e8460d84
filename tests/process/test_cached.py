"""A cache that `stat` validates."""

import json
import os
from pathlib import Path

import pytest

from edgechat.process import atomic
from edgechat.process.cached import Cached


def test_a_file_is_read_again_only_when_it_is_another_one(tmp_path: Path) -> None:
    read: list[bytes] = []

    def decode(content: bytes) -> object:
        read.append(content)
        return json.loads(content)

    cached, path = Cached(decode), tmp_path / "a.json"
    with pytest.raises(FileNotFoundError):
        cached.read(path)
    atomic.replace(path, b"1")
    assert [cached.read(path) for _ in range(3)] == [1, 1, 1]
    atomic.replace(path, b"2")  # as long as before; the time may be the same, the file is not
    assert [cached.read(path) for _ in range(3)] == [2, 2, 2]
    about = path.stat()
    path.write_bytes(b"3")
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns + 1))
    assert cached.read(path) == 3
    assert read == [b"1", b"2", b"3"]
    path.unlink()
    with pytest.raises(FileNotFoundError):
        cached.read(path)
    path.write_bytes(b"no json")
    for _ in range(2):
        with pytest.raises(json.JSONDecodeError):
            cached.read(path)  # what could not be read is not known
    assert len(read) == 5
