"""What people type, and every character of what comes back, in both languages: uses.en.txt, uses.zh.txt.

$ what is typed: edgechat and its arguments, maybe with NAME=VALUE before them, or behind `echo TEXT |`
  a line of standard output
! a line of standard error
= the exit status
"""

import io
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgechat import __version__
from tests.cli.conftest import Command

LOCALES = {"en": "C", "zh": "zh_CN.UTF-8"}


def uses() -> Iterator[tuple[str, str, str]]:
    """(language, what is typed, the lines under it)."""
    for language in LOCALES:
        file = Path(__file__).with_name(f"uses.{language}.txt")
        for use in file.read_text(encoding="utf-8").strip().split("\n\n"):
            typed, _, lines = use.partition("\n")
            yield language, typed.removeprefix("$ "), lines


@pytest.mark.parametrize(("language", "typed", "lines"), list(uses()))
def test_what_comes_back(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, language: str, typed: str, lines: str
) -> None:
    monkeypatch.setenv("LC_ALL", LOCALES[language])
    monkeypatch.setenv("EDGECHAT_OFFLINE", "1")
    piped, _, ours = typed.rpartition(" | ")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(piped.removeprefix("echo ").encode())))
    monkeypatch.chdir(tmp_path)
    before, _, arguments = ours.partition("edgechat")
    for variable in before.split():
        monkeypatch.setenv(*variable.split("=", 1))
    ran = command(*shlex.split(arguments))
    told = [*marked("  ", ran.said, tmp_path), *marked("! ", ran.complained, tmp_path), f"= {ran.status}"]
    assert "\n".join(told) == lines


def marked(mark: str, text: str, folder: Path) -> Iterator[str]:
    """The lines of `text`, without what differs from run to run, or is not seen."""
    plain = text.replace(str(folder / "home"), "HOME").replace(str(folder), "HERE")
    plain = plain.replace(f"edgechat {__version__}", "edgechat VERSION")
    return (f"{mark}{line}".rstrip() for line in plain.splitlines())


def test_both_languages_tell_of_the_same() -> None:
    typed = {language: [what for one, what, _ in uses() if one == language] for language in LOCALES}
    assert typed["en"] == typed["zh"]
    assert len(typed["en"]) > 70
