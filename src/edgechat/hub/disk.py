"""What the disk says, in our words."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from edgechat.errors import NoSpace, StorageError

MARGIN = 64 << 20  # bytes left free for everyone else


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the disk refuses becomes one of our errors, with the place."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(f"{path}: the disk is full. Free some space and try again.") from error
        reason = error.strerror or str(error)
        raise StorageError(f"{path} cannot be written: {reason}. Choose another place with EDGECHAT_HOME.") from error


def now() -> str:
    """The time as it is kept: ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def megabytes(count: float) -> str:
    """`count` bytes as text for people."""
    return f"{count / 1e9:,.2f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
