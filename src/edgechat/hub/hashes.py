"""Checksums: SHA-256 of files, remembered as long as the file is the same: same size, time of change and inode.

What was remembered saves reading gigabytes at every start. Whoever writes to the file changes its time, and it is read
again; what rots without being written to is found by `edgechat verify`, which remembers nothing beforehand.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock

import msgspec

from edgechat.errors import HubError
from edgechat.process import atomic
from edgechat.process.cached import Cached
from edgechat.types import Struct

CHUNK = 1 << 20  # bytes
MOST = 1000  # files that are remembered


class Known(Struct, frozen=True):
    """A hash, and the file as it was then."""

    sha256: str
    size: int
    changed: int  # st_mtime_ns
    inode: int

    def is_of(self, stat: os.stat_result) -> bool:
        """Whether the file is still the same one."""
        return (self.size, self.changed, self.inode) == (stat.st_size, stat.st_mtime_ns, stat.st_ino)


class Hashes:
    """The memory in one file. Where that cannot be written, everything is read again, and nothing else happens."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._cached = Cached(msgspec.json.Decoder(dict[str, Known]).decode)
        self._lock = Lock()

    def remembered(self, path: Path) -> str | None:
        """The SHA-256 of the file at `path`, if it is known without reading it."""
        known = self._all().get(str(path))
        try:
            return known.sha256 if known and known.is_of(path.stat()) else None
        except OSError:
            return None

    def of(self, path: Path, stop: Event | None = None, fresh: bool = False) -> str:
        """The SHA-256 of the file at `path`; `fresh` reads every byte whatever is remembered. May raise OSError."""
        if not fresh and (sha256 := self.remembered(path)) is not None:
            return sha256
        before = path.stat()
        sha256 = digest(path, stop)
        known = Known(sha256, before.st_size, before.st_mtime_ns, before.st_ino)
        if known.is_of(path.stat()):
            self._remember({str(path): known})
        return sha256

    def moved(self, path: Path, final: Path) -> None:
        """The file at `path` was renamed to `final`."""
        if known := self._all().get(str(path)):
            self._remember({str(final): known}, forget=str(path))

    def _all(self) -> dict[str, Known]:
        try:
            return self._cached.read(self._file)
        except (OSError, msgspec.DecodeError):
            return {}

    def _remember(self, news: dict[str, Known], forget: str = "") -> None:
        """Another process may do the same at this moment: what it learned may be lost, and is learned again."""
        with self._lock, suppress(OSError):
            kept = {path: known for path, known in self._all().items() if path != forget and path not in news}
            latest = dict(list((kept | news).items())[-MOST:])
            self._file.parent.mkdir(parents=True, exist_ok=True)
            atomic.replace(self._file, msgspec.json.encode(latest), durable=False, shared=True)


def digest(path: Path, stop: Event | None = None) -> str:
    """SHA-256 of the bytes at `path`, read in pieces. Raises HubError if `stop` was set meanwhile."""
    reading = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            if stop is not None and stop.is_set():
                raise HubError(f"{path.name}: stopped while its bytes were being checked.")
            reading.update(chunk)
    return reading.hexdigest()
