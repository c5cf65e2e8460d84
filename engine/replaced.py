"""Make sure that ggml calls what is ours, by what the linker sees. Called by overlay.cmake after a library is compiled.

A function of another name in a new llama.cpp would leave ours in the library, where nobody calls it: no test of results
would tell. So for each of them three things must be in the object files:

    T stock_name      ggml's, under its other name
    T name            ours
    U name            somebody calls it

    python replaced.py NM WANTED… -- OBJECTS…

WANTED is the name of a replaced function, or FILE:NAME where calls in one file are sent to a function NAME of ours.
"""

import re
import subprocess
import sys
from collections.abc import Iterator

SIGNATURE = r"(\(.*\))?"  # nm -C tells it of functions of C++


def wanted(name: str) -> Iterator[tuple[str, str]]:
    """(a line of `nm -A -C`, what it means that there is none)."""
    file, _, called = name.rpartition(":")
    if file:
        yield rf"{re.escape(file)}.*\bU _?{called}{SIGNATURE}$", f"{file} no longer calls what {called} replaces"
        return
    yield rf"\bT _?stock_{name}{SIGNATURE}$", f"llama.cpp has no function {name} any more"
    yield rf"\bT _?{name}{SIGNATURE}$", f"{name} is not among our functions"
    yield rf"\bU _?{name}{SIGNATURE}$", f"nobody calls {name} any more"


def faults(table: str, names: list[str]) -> list[str]:
    """What is missing in `table`, the words of nm."""
    pairs = (pair for name in names for pair in wanted(name))
    return [meaning for line, meaning in pairs if not re.search(line, table, re.MULTILINE)]


def main() -> None:
    nm, *names = sys.argv[1 : sys.argv.index("--")]
    objects = sys.argv[sys.argv.index("--") + 1 :]
    table = subprocess.run([nm, "-A", "-C", *objects], check=True, capture_output=True, text=True).stdout
    if found := faults(table, names):
        sys.exit(f"edgechat-engine: {'; '.join(found)}: overlay.cmake has to follow llama.cpp.")


if __name__ == "__main__":
    main()
