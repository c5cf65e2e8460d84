"""Write the pages of docs/ that follow from the code: the commands' help, the settings table, the HTTP API.

python scripts/docs.py            writes them
python scripts/docs.py --check    fails if one of them is stale
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from pydantic_core import PydanticUndefined

import api_page
from edgechat import cli
from edgechat.cli.help import translate
from edgechat.settings import PREFIX, Settings

DOCS = Path(__file__).resolve().parent.parent / "docs"
NOTE = "<!-- Written by `make docs`; do not edit. -->\n"


def commands() -> str:
    """Help of every command, as a terminal shows it."""
    root: Any = typer.main.get_command(cli.app)
    translate(root)
    parts = [NOTE, "# Commands\n"]
    for title, command in _tree("edgechat", root):
        width = {"terminal_width": 100, "max_content_width": 100}
        context = command.context_class(command, info_name=title, **width, **root.context_settings)
        parts.append(f"## {title}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def _tree(title: str, command: Any) -> Iterator[tuple[str, Any]]:
    """`command` and, where it is a group, all below it, but for mere aliases."""
    if command.hidden:
        return
    yield title, command
    for name, child in sorted(getattr(command, "commands", {}).items()):
        yield from _tree(f"{title} {name}", child)


def settings() -> str:
    """One row per setting."""
    rows = ["| setting | environment | default | meaning |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "the platform's data folder" if field.default is PydanticUndefined else f"`{field.default}`"
        default = "none" if field.default in (None, ()) else default
        rows.append(f"| `{name}` | `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    intro = (
        "A setting comes from `config.toml` in the home folder (or `--config FILE`), from the environment, or from a\n"
        "flag; the later one wins. A name that is not in this table is refused.\n"
    )
    return "\n".join([NOTE, "# Settings\n", intro, *rows, ""])


def main() -> None:
    pages = {"api.md": NOTE + "\n" + api_page.page(), "commands.md": commands(), "settings.md": settings()}
    stale = [name for name, text in pages.items() if not _same(DOCS / name, text)]
    if "--check" in sys.argv[1:]:
        if stale:
            sys.exit(f"stale: {', '.join('docs/' + name for name in stale)}; run make docs")
        return
    for name in stale:
        (DOCS / name).write_text(pages[name], encoding="utf-8")
        print(f"wrote docs/{name}")


def _same(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    os.environ["COLUMNS"] = "100"
    main()
