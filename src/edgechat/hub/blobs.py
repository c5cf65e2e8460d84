"""Content-addressed storage of models' bytes: read-only files under their own hash, kept as long as a model or a reader
needs them.

models/blobs/sha256-<hex>.gguf

A reader holds a shared lock on the file; whoever wants to delete it asks for the exclusive one and goes away empty
while it is read. The lock ends with its process, whatever ends that.
"""

import fcntl
import os
import re
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from threading import Event
from types import TracebackType
from typing import NamedTuple, Self

from edgechat.hub.hashes import Hashes
from edgechat.hub.source import File
from edgechat.process import atomic

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Freed(NamedTuple):
    """What deleting gave back, in bytes; `held` is still read by somebody and goes when they let go of it."""

    bytes: int = 0
    held: int = 0


class Hold:
    """Files that stay while they are read. Release it, or leave its `with`."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._descriptors: list[int] = []
        try:
            for path in paths:
                self._descriptors.append(os.open(path, os.O_RDONLY))
                with suppress(OSError):  # a file system without locks: deleting does not harm who has mapped the file
                    fcntl.flock(self._descriptors[-1], fcntl.LOCK_SH)
        except OSError:
            self.release()
            raise

    def release(self) -> None:
        """Let go. A second time does nothing."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Blobs:
    """The folder of all bytes. Files are named by `File`s whose hash is known."""

    def __init__(self, folder: Path, hashes: Hashes) -> None:
        self.folder = folder
        self._hashes = hashes

    def path(self, file: File) -> Path:
        """Where the bytes of `file` lie, or would."""
        assert is_whole(file)
        return self.folder / f"sha256-{file.sha256}{PurePosixPath(file.path).suffix.lower()}"

    def wrong(self, file: File) -> str | None:
        """What a look at `file` finds wrong, without reading it: missing, cut off, or known to have changed."""
        return self._misplaced(file) or self._differs(file, self._hashes.remembered(self.path(file)) or file.sha256)

    def examine(self, file: File, stop: Event | None = None, fresh: bool = False) -> str | None:
        """As `wrong`, but the bytes are read unless the file is the same one as when they were; `fresh` always does."""
        try:
            return self._misplaced(file) or self._differs(file, self._hashes.of(self.path(file), stop, fresh))
        except OSError as error:
            return f"{file.path} cannot be read: {error.strerror}"

    def is_examined(self, file: File) -> bool:
        """Whether the bytes need not be read to be trusted."""
        return self._hashes.remembered(self.path(file)) == file.sha256

    def take(self, staged: Path, file: File) -> None:
        """Move the bytes at `staged`, which were found to be `file`'s, here: flushed, read-only, whole."""
        with staged.open("rb") as bytes_:
            os.fsync(bytes_.fileno())
        staged.chmod(0o444)
        staged.replace(self.path(file))
        self._hashes.moved(staged, self.path(file))
        atomic.flush_folder(self.folder)

    def is_held(self, path: Path) -> bool:
        """Whether somebody reads the file now, here or in another process."""
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False  # a file system without locks
        finally:
            os.close(descriptor)
        return False

    def sweep(self, keep: Collection[Path]) -> Freed:
        """Delete every file that is not one of `keep` and that nobody reads."""
        freed = held = 0
        for path in self.folder.glob("*"):
            if path in keep:
                continue
            size = path.lstat().st_size
            if self.is_held(path):
                held += size
            else:
                path.unlink(missing_ok=True)
                freed += size
        return Freed(freed, held)

    def _misplaced(self, file: File) -> str | None:
        path = self.path(file)
        try:
            inside = path.resolve(strict=True).parent == self.folder.resolve()
            size = path.stat().st_size if inside and path.is_file() else None
        except OSError:
            size = None
        if size is None:
            return f"{file.path} is missing"
        return None if size == file.size else f"{file.path} has {size:,} bytes instead of {file.size:,}"

    def _differs(self, file: File, found: str | None) -> str | None:
        if found == file.sha256:
            return None
        return f"{file.path} has changed: its SHA-256 is {found}, not {file.sha256}"


def is_whole(file: File) -> bool:
    """Whether everything about `file` is known: it can have a place."""
    return file.size is not None and file.sha256 is not None and _SHA256.fullmatch(file.sha256) is not None
