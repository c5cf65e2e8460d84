"""What a command loads before it knows what it is asked for."""

import subprocess
import sys
from functools import cache

import pytest

SCRIPT = "import sys, edgechat.cli; print(*sorted(sys.modules))"


@cache
def loaded(*arguments: str) -> list[str]:
    """The modules that `edgechat ARGUMENTS` has when it begins."""
    command = [sys.executable, "-c", SCRIPT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()


@pytest.mark.parametrize("heavy", ["fastapi", "starlette", "numpy", "jinja2"])
def test_a_command_loads_nothing_that_only_a_server_needs(heavy: str) -> None:
    assert heavy not in loaded()


@pytest.mark.parametrize("later", ["uvicorn", "edgechat.bench.report", "edgechat.tune.picture"])
def test_serve_starts_the_worker_before_it_loads_what_only_the_rest_needs(later: str) -> None:
    assert "edgechat.cli.serve" in loaded("serve")
    assert later not in loaded("serve")
