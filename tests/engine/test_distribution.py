"""edgechat asks for the engine that lies beside it, and has it."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_engine_that_is_asked_for_is_the_one_in_its_folder() -> None:
    wanted, beside = (
        tomllib.loads((ROOT / where / "pyproject.toml").read_text())["project"] for where in (".", "engine")
    )
    assert f"edgechat-engine=={beside['version']}" in wanted["dependencies"]
    assert version("edgechat-engine") == beside["version"]
    assert beside["requires-python"] == wanted["requires-python"]


def test_nothing_imports_another_binding_of_llama_cpp() -> None:
    another = re.compile(r"^\s*(from|import) llama_cpp\b", re.MULTILINE)
    files = [
        path
        for folder in ("src", "tests", "scripts", "engine/src", "engine/tests")
        for path in (ROOT / folder).rglob("*.py")
    ]
    assert not [path for path in files if another.search(path.read_text())]
