"""Tiny models of every family through a life of conversations (family.py): right, or refused in one line."""

import re
from pathlib import Path

import pytest

from edgechat_engine.library import FOLDER
from tests import tiny
from tests.engine.family import COLUMNS, lived, rows

# What the engine's library can compute, by the names that its source has; a new llama.cpp brings new ones.
KNOWN = Path(__file__).with_name("architectures.txt")
MOST_OF_CELL, MOST_OF_STATE = 32, 512  # bytes that a saved state has beside its numbers


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_a_life_of_conversations(architecture: str, tmp_path: Path) -> None:
    found = lived(architecture, tmp_path)
    assert found.row() == rows()[architecture], (
        f"{found.wrong}; if that is meant: python -m tests.engine.family --write"
    )
    if found.refused:
        assert architecture in found.refused
        assert "\n" not in found.refused
    elif "window" not in found.memory:  # of a window only the end is saved
        assert 0 <= found.cell <= MOST_OF_CELL
        assert 0 <= found.state <= MOST_OF_STATE


def test_the_table_has_every_architecture_that_lives_here() -> None:
    assert list(rows()) == list(tiny.ARCHITECTURES)
    assert all(line.count("|") == len(COLUMNS) + 3 for line in rows().values())


def test_a_new_architecture_of_the_library_is_noticed() -> None:
    """Give it a life above, or let it be known as one that has none here."""
    # The names of its classes of models, as C++ writes them into a library: 17llama_model_qwen35.
    words = re.findall(rb"(\d\d)(llama_model_[a-z0-9_]+)\x00", next(FOLDER.glob("libllama.*")).read_bytes())
    names = {word.decode().removeprefix("llama_model_") for length, word in words if int(length) == len(word)}
    assert sorted(names) == KNOWN.read_text(encoding="utf-8").split()
