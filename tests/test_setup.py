"""`make setup` on a machine where something is missing: one line that says what to install."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

SETUP = Path(__file__).parent.parent / "scripts" / "setup.py"


def test_a_python_that_makes_no_environments_is_told_what_to_install(tmp_path: Path) -> None:
    """Debian's, without python3-venv."""
    alone = shutil.copy(SETUP, tmp_path)  # where there is nothing to go on with
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['ensurepip'] = None\n")
    environ = os.environ | {"PYTHONPATH": str(tmp_path)}
    told = subprocess.run([sys.executable, alone], capture_output=True, text=True, env=environ, check=False)
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.startswith("edgechat: this Python makes no environments: sudo apt install python3-venv")
    assert told.stderr.count("\n") == 1
