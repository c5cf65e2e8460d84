"""A cache that `stat` validates: what small files hold, read again when they are other files than they were."""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

Stamp = tuple[int, int, int]


class Cached(Generic[T]):
    """What the files of one kind hold, by path. Any process may replace one at any time (atomic.py)."""

    def __init__(self, decode: Callable[[bytes], T]) -> None:
        self._decode = decode
        self._known: dict[Path, tuple[Stamp, T]] = {}

    def read(self, path: Path) -> T:
        """What the file at `path` holds now: not to be changed. Raises OSError, and what `decode` raises."""
        try:
            about = path.stat()
        except OSError:
            self._known.pop(path, None)
            raise
        stamp = about.st_ino, about.st_mtime_ns, about.st_size
        known = self._known.get(path)
        if known is None or known[0] != stamp:  # looked at before it is read: what is replaced meanwhile is read again
            known = self._known[path] = stamp, self._decode(path.read_bytes())
        return known[1]
