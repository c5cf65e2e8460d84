import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgechat.models.measure import tree_bytes

HOLD = "import sys; held = b'1' * (60 << 20); print('there', flush=True); sys.stdin.read()"
TREE = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"


def test_children_count_and_a_process_that_is_gone_does_not() -> None:
    if not Path("/proc/self/smaps_rollup").exists():
        pytest.skip("this system does not tell shared pages apart")
    command = [sys.executable, "-c", TREE, HOLD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        assert 60 << 20 < tree_bytes(process.pid) < 200 << 20
        process.communicate()
    assert tree_bytes(process.pid) == 0


def test_where_nothing_is_told_it_is_zero(tmp_path: Path) -> None:
    assert tree_bytes(os.getpid(), tmp_path) == 0
