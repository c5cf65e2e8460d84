"""The library tells which functions of ours it holds: all that this processor can run, and no other."""

import json
import subprocess
import sys

import pytest

from edgechat_engine import kernels, possible
from edgechat_engine.library import FOLDER, processor_module
from edgechat_engine.needs import NEEDS, flags


@pytest.mark.skipif(not flags(), reason="this system does not tell what its processor can do")
def test_what_this_processor_can_run_is_there() -> None:
    assert set(kernels()) == possible(flags())


@pytest.mark.parametrize(
    ("has", "runs"),
    [
        (set(), set()),
        ({"avx2", "fma"}, set()),
        ({"avx2", "fma", "f16c"}, set(NEEDS) - {"lazy-clear", "steps", "matmul-iq4_xs"}),
        ({"avx2", "fma", "f16c", "sse2"}, set(NEEDS) - {"lazy-clear", "matmul-iq4_xs"}),
        (set[str]().union(*NEEDS.values()), set(NEEDS) - {"lazy-clear"}),
    ],
)
def test_a_kernel_is_possible_with_all_of_its_instructions(has: set[str], runs: set[str]) -> None:
    assert possible(has) - {"lazy-clear"} == runs
    assert ("lazy-clear" in possible(has)) == sys.platform.startswith("linux")


def test_ggmls_own_functions_are_there_under_their_other_names() -> None:
    """What is left to them is computed by them: they are not compiled away."""
    module = processor_module()
    assert module._name.startswith(str(FOLDER))
    if "attention" in kernels():
        assert hasattr(module, "stock_ggml_compute_forward_flash_attn_ext")


def test_the_engine_says_what_it_is() -> None:
    command = [sys.executable, "-m", "edgechat_engine"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    about = json.loads(run.stdout)
    assert about["kernels"] == list(kernels())
    assert about["missing"] == []
    assert "OPENMP" not in about["system"]
    assert about["version"].count(".") == 3
