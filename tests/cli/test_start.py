"""What a command loads before it knows what it is asked for."""

import subprocess
import sys

import pytest

SCRIPT = "import sys, edgechat.cli; print(*sorted(sys.modules))"


@pytest.mark.parametrize("heavy", ["fastapi", "starlette", "numpy", "jinja2"])
def test_a_command_loads_nothing_that_only_a_server_needs(heavy: str) -> None:
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    assert heavy not in run.stdout.split()


@pytest.mark.parametrize("later", ["uvicorn", "edgechat.bench.report", "edgechat.tune.picture"])
def test_serve_starts_the_worker_before_it_loads_what_only_the_rest_needs(later: str) -> None:
    script = f"import sys; sys.argv = ['edgechat', 'serve']\n{SCRIPT}"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    loaded = run.stdout.split()
    assert "edgechat.cli.serve" in loaded
    assert later not in loaded
