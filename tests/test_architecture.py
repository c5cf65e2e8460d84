"""The house holds its shape: imports point down, files and functions stay small."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "edgechat"

Rows = list[list[str]]


def rows_of(block: str) -> Rows:
    """The rows of names in a block of CONTRIBUTING.md: one imports only from those above its own."""
    return [line.split(" · ") for line in block.splitlines()]


_CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
HOUSE, API = map(rows_of, re.findall(r"```text\n(errors · .*?)\n```", _CONTRIBUTING, re.DOTALL))
# In the bottom row of the house, the nouns come first: these may be imported by their neighbours.
NOUNS = {"errors", "types"}
MAX_FILE, MAX_FUNCTION = 400, 60

FILES = sorted(SOURCE.rglob("*.py"))
ENGINE = sorted([*(ROOT / "engine").glob("*.py"), *(ROOT / "engine" / "src").rglob("*.py")])


def module(path: Path) -> list[str]:
    """`path` as an import names it: api, doors, gate."""
    parts = list(path.relative_to(SOURCE).with_suffix("").parts)
    return parts[:-1] if parts[-1] == "__init__" else parts


def is_below(lower: str, upper: str, rows: Rows) -> bool:
    def row(name: str) -> int:
        return next(at for at, names in enumerate(rows) if name in names)

    return row(lower) < row(upper)


def imported(tree: ast.AST) -> Iterator[list[str]]:
    """What of ours is imported, as `module` has it."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        yield from (name.split(".")[1:] for name in names if name.startswith("edgechat.") and not name.endswith("__"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_down(path: Path) -> None:
    here = module(path)
    for there in imported(ast.parse(path.read_text())):
        if there[0] != here[0]:
            noun = here[0] in HOUSE[0] and there[0] in NOUNS
            assert noun or is_below(there[0], here[0], HOUSE), f"{here[0]} may not import {there[0]}"
        elif here[0] == "api" and there[1] != here[1]:
            assert is_below(there[1], here[1], API), f"api/{here[1]} may not import api/{there[1]}"


@pytest.mark.parametrize(("depth", "rows"), [(0, HOUSE), (1, API)], ids=["house", "api"])
def test_every_room_has_one_row_and_every_row_its_rooms(depth: int, rows: Rows) -> None:
    modules = [module(path) for path in FILES]
    rooms = {each[depth] for each in modules if len(each) > depth and (not depth or each[0] == "api")}
    assert sorted(rooms) == sorted(name for names in rows for name in names)


def test_every_room_is_told_of() -> None:
    """In the table of CONTRIBUTING.md, by which a newcomer finds their way."""
    rows = re.findall(r"^\| ((?:`\w+` )+)\|", _CONTRIBUTING, re.MULTILINE)
    told = [name for row in rows for name in re.findall(r"\w+", row)]
    assert sorted(told) == sorted([*(name for names in HOUSE for name in names), "web"])


@pytest.mark.parametrize("path", [*FILES, *ENGINE], ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < MAX_FUNCTION, f"{node.name} is two things"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_import_inside_a_function_hides_a_knot(path: Path) -> None:
    """Late loading goes through the registry; nothing of ours is imported inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert not list(imported(node)), f"{node.name} imports inside"


# Everything that could open a connection, and who may have it. What a user did not ask for is asked by nobody.
REACHES_OUT = {
    "hub/https.py": {"httpx"},  # the three sources and a check; in the child process, behind hub/outbound.py
    "hub/modelscope.py": {"modelscope_hub"},
    "hub/huggingface.py": {"huggingface_hub"},
    "hub/probe.py": {"socket", "urllib.request"},
    "hub/outbound.py": {"socket"},  # the guard itself
    "fetch/child.py": {"httpx"},  # pictures from listed hosts; a process of its own, behind hub/outbound.py
    "bench/acuity.py": {"httpx"},  # a server of ours, which bench/local.py started
    "bench/client.py": {"httpx"},  # loopback only: its address() holds it
    "bench/local.py": {"httpx", "socket"},
    "bench/restart.py": {"asyncio.open_connection"},
    "presence.py": {"httpx"},  # this home folder's own server, where a command looks for it
    "cli/talk.py": {"httpx"},  # the same, which answers a chat
    "observe/sentry.py": {"sentry_sdk", "sentry_sdk.utils"},  # extras, off until somebody sets where to
    "observe/tracing.py": {"opentelemetry"},
    "api/doors/connection.py": {"socket"},  # constants
    "api/doors/doorstep.py": {"socket"},  # accepts
    "cli/serve.py": {"socket"},  # listens
    "cli/server.py": {"socket"},
}
_CAN = re.compile(
    r"(httpx|urllib\.request|http\.client|socket|aiohttp|requests|urllib3|modelscope_hub|huggingface_hub|opentelemetry"
    r"|sentry_sdk|ftplib|smtplib|asyncio\.open_connection)(\.|$)"
)


def reaching(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names = [f"{node.value.id}.{node.attr}"] if node.attr == "open_connection" else []
        for name in filter(_CAN.match, names):
            yield "opentelemetry" if name.startswith("opentelemetry") else name


def test_who_could_open_a_connection_is_known() -> None:
    found = {str(path.relative_to(SOURCE)): set(reaching(ast.parse(path.read_text()))) for path in FILES}
    assert {path: names for path, names in found.items() if names} == REACHES_OUT


# Who starts processes. Children of ours come from process/spawn.py: without secrets, in a session of their own.
STARTS = {
    "process/spawn.py": {"subprocess.Popen"},
    "hub/pypi.py": {"subprocess.run"},  # pip, within the child process
    "cli/autostart.py": {"subprocess.run"},  # the system's service manager
    "cli/doctor.py": {"subprocess.run"},  # the engine, which may be one for another processor
    "bench/company.py": {"asyncio.create_subprocess_exec"},  # load, and servers to compare with
    "bench/local.py": {"asyncio.create_subprocess_exec"},
    "bench/restart.py": {"asyncio.create_subprocess_shell"},
}
_STARTS = re.compile(
    r"subprocess\.(Popen|run|call|check_call|check_output)|asyncio\.create_subprocess_\w+|os\.(fork|system|popen|exec\w+|posix_spawn\w*)"
)


def test_who_starts_processes_is_known() -> None:
    found: dict[str, set[str]] = {}
    for path in FILES:
        calls = (ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
        if starts := set(filter(_STARTS.fullmatch, calls)):
            found[str(path.relative_to(SOURCE))] = starts
    assert found == STARTS
