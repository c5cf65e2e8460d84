"""Localized help: the commands' help in the reader's language, broken where wide characters let it."""

import inspect
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

import typer
from rich.cells import cell_len
from typer.exceptions import TyperException

from edgechat.i18n import t

# A word, or a wide character, with the punctuation that no line begins with.
_PIECE = re.compile(r"(?:[^\s\u2e80-\uffef]+|.)[，。：；、）！？]*\s*")

KINDS = {
    "str": "TEXT",
    "list[str]": "TEXT",
    "path": "PATH",
    "list[Path]": "PATH",
    "int": "NUMBER",
    "int range": "NUMBER",
    "float range": "NUMBER",
}


def translate(command: Any) -> None:
    """Have `command`, and all below it, show their help in the language of now, and the kinds of values in words."""
    command.context_class = _Context
    first, stop, _ = t(_paragraphs(command.help or "")[0]).partition("。")
    if stop:  # of its help its group shows the first sentence
        command.short_help = first + stop
    for child in getattr(command, "commands", {}).values():
        translate(child)


def complain(error: TyperException) -> None:
    """What is wrong with a command line, on standard error."""
    said = io.StringIO()
    error.show(said)  # type: ignore[attr-defined]  # all that are raised have it
    for line in said.getvalue().splitlines():
        typer.echo(t(line), err=True)


class _Help(typer.Context.formatter_class):  # type: ignore[misc,valid-type]
    """Writes help as typer's own does, of translated sentences."""

    def write_usage(self, prog: str, args: str = "", _prefix: str | None = None) -> None:
        super().write_usage(prog, args, t("Usage: "))

    def write_heading(self, heading: str) -> None:
        self.write(f"{' ' * self.current_indent}{t(f'{heading}:')}\n")

    def write_text(self, text: str) -> None:
        indent = " " * self.current_indent
        paragraphs = (lines(t(one), self.width - len(indent)) for one in _paragraphs(text))
        self.write("\n\n".join("\n".join(indent + line for line in one) for one in paragraphs) + "\n")

    def write_dl(self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        rows, indent = [(_plain(term), about) for term, about in rows], " " * self.current_indent
        left = min(max(cell_len(term) for term, _ in rows), col_max) + col_spacing
        for term, about in rows:
            sentence, _, extra = about.partition("  [")
            told = t(sentence) + (f"  [{'; '.join(map(t, extra.removesuffix(']').split('; ')))}]" if extra else "")
            first, *others = lines(told, max(self.width - left - 2, 10))
            gap = " " * (left - cell_len(term)) if cell_len(term) + col_spacing <= left else f"\n{indent}{' ' * left}"
            self.write(f"{indent}{term}{gap}{first}".rstrip() + "\n")
            self.write("".join(f"{indent}{' ' * left}{line}\n" for line in others))


class _Context(typer.Context):
    formatter_class = _Help


def _plain(term: str) -> str:
    """`--port <int>` as --port NUMBER; an argument's own name says enough."""
    name, typed, kind = term.partition(" <")
    if not typed:
        return term
    return f"{name} {t(KINDS[kind.partition('>')[0]])}" if name.startswith("-") else name


def lines(text: str, width: int) -> Iterator[str]:
    """`text` in lines of at most `width` columns, of which a wide character takes two. One at least, maybe empty."""
    line = ""
    for piece in _PIECE.findall(text):
        if line and cell_len(line + piece.rstrip()) > width:
            yield line.rstrip()
            line = ""
        line += piece
    yield line.rstrip()


def _paragraphs(text: str) -> list[str]:
    """Those of a docstring, each on one line."""
    return [" ".join(paragraph.split()) for paragraph in inspect.cleandoc(text).split("\n\n")]
