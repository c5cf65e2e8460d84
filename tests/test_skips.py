"""What is skipped is counted, and where CI is set, what nobody expected makes the run red."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import skips

ROOT = Path(__file__).parent.parent
FIREFOX = "firefox is not installed: apt-get install firefox-esr"


def run(folder: Path, reasons: list[str], *options: str, ci: str = "true") -> tuple[int, list[str]]:
    """The exit status and the words of a run in which one test passes, and others skip for these reasons."""
    tests = [f"def test_{n}():\n    pytest.skip({reason!r})\n" for n, reason in enumerate(reasons)]
    (folder / "test_it.py").write_text("\n".join(["import pytest\ndef test_ok(): pass\n", *tests]))
    (folder / "pytest.ini").write_text("[pytest]\n")
    environ = os.environ | {"CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-p", "tests.skips", "-p", "no:cacheprovider", *options, str(folder)]
    ended = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout.splitlines()


@pytest.mark.parametrize("options", [(), ("-p", "xdist", "-n", "2")], ids=["one process", "two"])
def test_an_unexpected_skip_is_red_and_told(tmp_path: Path, options: tuple[str, ...]) -> None:
    status, said = run(tmp_path, [FIREFOX, FIREFOX, "the moon is full"], *options)
    assert status == pytest.ExitCode.TESTS_FAILED
    assert f"     2 skipped: {FIREFOX}" in said
    assert "     1 skipped, which nobody expected: the moon is full" in said
    assert "1 passed, 3 skipped" in said[-1]


def test_expected_skips_are_told_and_no_fault(tmp_path: Path) -> None:
    status, said = run(tmp_path, [FIREFOX, "minutes of waiting: EDGECHAT_TORTURE=1"])
    assert status == pytest.ExitCode.OK
    assert f"     1 skipped: {FIREFOX}" in said


def test_on_a_persons_machine_nothing_is_red(tmp_path: Path) -> None:
    status, said = run(tmp_path, ["the moon is full"], ci="")
    assert status == pytest.ExitCode.OK
    assert "     1 skipped, which nobody expected: the moon is full" in said


def test_a_whole_file_that_skips_counts(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text("import pytest\npytest.skip('no moon', allow_module_level=True)\n")
    status, said = run(tmp_path, [])
    assert status == pytest.ExitCode.TESTS_FAILED
    assert "     1 skipped, which nobody expected: no moon" in said


def test_every_reason_that_is_expected_is_one_that_a_test_gives() -> None:
    files = [
        path for path in (*ROOT.glob("tests/**/*.py"), *ROOT.glob("engine/tests/*.py")) if "skips" not in path.name
    ]
    code = [path.read_text(encoding="utf-8") for path in files]
    assert [begin for begin in skips.EXPECTED if not any(f'"{begin}' in text for text in code)] == []
