"""Atomic replacement of files: whoever reads one finds the old content or the new one, never half of either.

X.part ── written ── flushed ── renamed ──► X ── its folder flushed
   └ of a writer that failed: deleted; of one that was killed: begun anew, or swept
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def replace(path: Path, content: bytes, *, mode: int = 0o666, durable: bool = True, shared: bool = False) -> None:
    """Make `content` the file at `path`; see `replacing`."""
    with replacing(path, mode=mode, durable=durable, shared=shared) as part:
        part.write_bytes(content)


@contextmanager
def replacing(path: Path, *, mode: int = 0o666, durable: bool = True, shared: bool = False) -> Iterator[Path]:
    """An empty file beside `path`, to be written to; it takes the place of `path` when the context ends well.

    `durable`: it outlasts a power cut from then on. `mode`: permissions, less the umask. `shared`: several processes
    may replace `path` at once, with no lock between them; the last one wins. May raise OSError.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part" if shared else f"{path.name}.part")
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
    try:
        yield part
        if durable:
            _flush(part)
        part.replace(path)
    except BaseException:
        with suppress(OSError):  # the first trouble is the one to tell
            part.unlink()
        raise
    if durable:
        flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Make renames and deletions in `folder` last through a power cut."""
    try:
        _flush(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:  # what a file system says that flushes no folders
            raise


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
