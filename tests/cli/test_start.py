"""What a command loads before it knows what it is asked for."""

import subprocess
import sys

import pytest

SCRIPT = "import sys, edgechat.cli; print(*sorted(sys.modules))"


@pytest.mark.parametrize("heavy", ["fastapi", "starlette", "numpy", "jinja2"])
def test_a_command_loads_nothing_that_only_a_server_needs(heavy: str) -> None:
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    assert heavy not in run.stdout.split()
