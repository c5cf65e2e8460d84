"""What commands share."""

import errno
from pathlib import Path

import pytest

from edgechat.cli import options
from edgechat.errors import StorageError


def test_a_disk_that_fills_up_is_told_with_the_file_that_was_named() -> None:
    """The system names a file that cannot be opened, and none of one that is being written."""
    told = r"^report\.md cannot be written: No space left on device\.$"
    with pytest.raises(StorageError, match=told), options.writing(Path("report.md")):
        raise OSError(errno.ENOSPC, "No space left on device")
