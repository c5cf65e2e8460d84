"""Make `.venv` and install edgechat and its engine into it. Called by `make setup`; needs nothing but Python.

python3 scripts/setup.py          what serving needs
python3 scripts/setup.py --dev    and what tests and checks need
"""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 - this very line is for older ones
    sys.exit("edgechat needs Python 3.11 or newer: make setup PYTHON=/path/to/python3.11")

if find_spec("venv") is None or find_spec("ensurepip") is None:  # Debian has them in a package of its own
    sys.exit("edgechat: this Python makes no environments: sudo apt install python3-venv, then run make again.")

import venv

from engine import ensure_wheel

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"


def pip(*arguments: str) -> None:
    """Run the venv's pip, quietly; stop with one line if it fails."""
    command = [
        str(VENV / "bin" / "python"),
        "-m",
        "pip",
        *arguments,
        "--quiet",
        "--disable-pip-version-check",
    ]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        sys.exit("edgechat: pip could not finish: see its words above, mend that, and run make setup again.")


def install_engine(wheel: Path) -> None:
    """Install `wheel` unless it is what .venv has: pip cannot tell two builds of one version apart."""
    installed = VENV / ".engine"
    if not installed.exists() or installed.read_text() != str(wheel):
        pip("install", "--force-reinstall", "--no-deps", str(wheel))
        installed.write_text(str(wheel))


def main() -> None:
    dev = "--dev" in sys.argv[1:]
    if not (VENV / "bin" / "pip").exists():  # it comes last: a half environment is made whole
        print("edgechat: making .venv", file=sys.stderr)
        venv.create(VENV, with_pip=True)
    wheel = ensure_wheel()
    print("edgechat: installing " + ("the development tools" if dev else "the packages"), file=sys.stderr)
    install_engine(wheel)
    pip("install", "--constraint", "constraints.txt", "--editable", ".[dev]" if dev else ".")
    (VENV / (".ready-dev" if dev else ".ready")).touch()


if __name__ == "__main__":
    main()
