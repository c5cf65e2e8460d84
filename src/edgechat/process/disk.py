"""Disk space: whether there is room is asked before, and what a disk refuses all the same becomes one of our errors."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgechat.errors import NoSpace, StorageError

MARGIN = 64 << 20  # bytes left free for everyone else


def check_room(folder: Path, needed: int) -> None:
    """Raise NoSpace, with both numbers, if `needed` bytes do not fit into `folder`."""
    free = shutil.disk_usage(folder).free
    if needed + MARGIN > free:
        raise NoSpace(f"{folder}: {megabytes(needed + MARGIN)} are needed, and {megabytes(free)} are free. Make room.")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the disk refuses becomes one of our errors, with the place."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise full(path) from error
        reason = error.strerror or str(error)
        raise StorageError(f"{path} cannot be written: {reason}. Choose another place with EDGECHAT_HOME.") from error


def is_full(error: OSError) -> bool:
    """Whether the disk has no more room, or none for this user."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def full(path: Path) -> NoSpace:
    """What is said of a disk that filled up meanwhile."""
    return NoSpace(f"{path}: the disk is full. Free some space and try again.")


def megabytes(count: float) -> str:
    """`count` bytes as text for people."""
    return f"{count / 1e9:,.2f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
