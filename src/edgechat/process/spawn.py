"""Starting a child: a module of ours in a process and a session of its own, without secrets.

This is imported before everything else (models/spare.py): it needs little itself.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import IO

_FORBIDDEN = {"HF_HUB_OFFLINE": "1"}  # libraries that read models would ask their hub
# Weights and keys in large pages: measured, a step takes 5 % less. glibc alone reads it; elsewhere it changes nothing.
_LARGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
_PASSED_ON = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
    "GLIBC_TUNABLES",
)


def plain_environment() -> dict[str, str]:
    """All that a process which reads strangers' files gets of the environment: no key, no token, no proxy, no hub."""
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return _LARGE_PAGES | passed | _FORBIDDEN


def spawn(
    module: str,
    *arguments: str,
    stderr: int | IO[bytes] = subprocess.PIPE,
    environment: Mapping[str, str] | None = None,
    own_session: bool = True,
) -> subprocess.Popen[bytes]:
    """Start `module`, whose main makes a `Parent` (parent.py), with pipes to it.

    `environment`: for a child that must have what its parent has; the plain one otherwise. Without `own_session` it
    ends with the group that it was started in.
    """
    return subprocess.Popen(  # noqa: S603
        (sys.executable, "-P", "-m", module, *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=plain_environment() if environment is None else environment,
        start_new_session=own_session,
    )
