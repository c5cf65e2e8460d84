"""The C API comes alone."""

import subprocess
import sys

import pytest

SCRIPT = "import sys; from edgechat.bindings import lib; lib.llama_max_devices; print(*sorted(sys.modules))"


@pytest.mark.parametrize("unwanted", ["numpy", "jinja2", "llama_cpp.llama"])
def test_the_bindings_bring_nothing_heavy(unwanted: str) -> None:
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    modules = run.stdout.split()
    assert "llama_cpp.llama_cpp" in modules
    assert unwanted not in modules
