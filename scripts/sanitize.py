"""The engine's own tests once more, over a build with AddressSanitizer and UndefinedBehaviorSanitizer.

A byte that a kernel reads or writes beyond a tensor's end is usually there, and nothing shows. Here it ends the run.

    python scripts/sanitize.py      part of `make torture`
"""

import os
import subprocess
import sys
import tempfile

from engine import ENGINE, ensure_wheel

# Python's own allocator would hide where a piece of memory ends, and what it keeps until its end is no leak.
OPTIONS = {"PYTHONMALLOC": "malloc", "ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}


def main() -> int:
    # What it watches must be there from the start: llama.cpp throws, and C++'s own library comes with it otherwise.
    asked = [["cc", f"-print-file-name={name}.so"] for name in ("libasan", "libstdc++")]
    first = [subprocess.run(each, capture_output=True, text=True, check=True).stdout.strip() for each in asked]
    with tempfile.TemporaryDirectory() as site:
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", site]
        subprocess.run([*install, str(ensure_wheel("sanitized"))], check=True)
        environment = os.environ | OPTIONS | {"PYTHONPATH": site, "LD_PRELOAD": " ".join(first)}
        tests = [sys.executable, "-m", "pytest", "--capture=no", "-p", "no:cacheprovider", str(ENGINE / "tests")]
        return subprocess.run([*tests, *sys.argv[1:]], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
