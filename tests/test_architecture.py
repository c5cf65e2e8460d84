"""The house holds its shape: imports point down, files and functions stay small."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "edgechat"

# A module imports only from the rows above it; neighbours in a row are strangers.
ROWS = [
    {"errors", "types", "registry", "settings", "gguf", "machine"},
    {"observe"},
    {"reports"},
    {"hub", "prompt", "engine", "history", "keys", "presence"},
    {"scheduler"},
    {"worker", "remote", "tune"},
    {"cascade", "library"},
    {"upkeep"},
    {"runtime"},
    {"runs"},
    {"api", "bench"},
    {"cli"},
]
# In the bottom row, the nouns come first: these may be imported by their neighbours.
NOUNS = {"errors", "types"}
MAX_FILE, MAX_FUNCTION = 400, 60

FILES = sorted(SOURCE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def row(name: str) -> int:
    return next(i for i, names in enumerate(ROWS) if name in names)


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module != "edgechat" else [f"edgechat.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        yield from (name.split(".")[1] for name in names if name.startswith("edgechat.") and not name.endswith("__"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_down(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return
    for name in imported(ast.parse(path.read_text())):
        below = row(name) < row(here) or name == here or (row(name) == row(here) == 0 and name in NOUNS)
        assert below, f"{here} may not import {name}"


def test_every_room_has_a_row() -> None:
    rooms = {room(path) for path in FILES} - {"__init__"}
    assert rooms <= set().union(*ROWS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
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
