"""`edgechat verify`, `remove`, `gc`: whether what is here is right, and making room."""

import json
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.status import Status

from edgechat import presence
from edgechat.cli import options
from edgechat.cli.follow import out
from edgechat.errors import InvalidRequest
from edgechat.hub import versions
from edgechat.hub.blobs import Freed
from edgechat.hub.store import Store
from edgechat.i18n import t
from edgechat.process.disk import megabytes
from edgechat.types import Struct

Name = Annotated[str, typer.Argument(help="Name of an installed model.", show_default=False)]
Names = Annotated[
    list[str] | None, typer.Argument(help="Names of installed models; without any, all.", show_default=False)
]


class Verdict(Struct, frozen=True):
    """What `verify --json` tells about one model; `wrong` has a line for each bad file."""

    name: str
    sha256: str
    ok: bool
    wrong: tuple[str, ...]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(verify)
    app.command()(remove)
    app.command()(gc)


def verify(
    names: Names = None, home: options.Home = None, config: options.Config = None, as_json: options.Json = False
) -> None:
    """Check every byte of a model against what was published. Ends with status 1 if something is wrong."""
    settings = options.load(config, home=home)
    store = Store(settings.home)
    verdicts = []
    for name in names or store.names():
        marker = store.marker(name)
        with Status(t(f"reading {name}"), console=Console(stderr=True)):
            wrong = store.examine(name)
        verdicts.append(Verdict(name, marker.current.manifest.digest, not wrong, wrong))
        if not as_json:
            _tell(verdicts[-1])
    if as_json:
        typer.echo(msgspec.json.encode(verdicts).decode())
    elif not verdicts:
        out.say("No model is installed.")
    if not all(verdict.ok for verdict in verdicts):
        raise typer.Exit(1)


def _tell(verdict: Verdict) -> None:
    if verdict.ok:
        out.say(f"{verdict.name}: every byte is right (SHA-256 {verdict.sha256})")
        return
    for line in verdict.wrong:
        out.print(f"{verdict.name}: {t(line)}", markup=False)
    out.say(f"{verdict.name} is damaged and is not loaded. To repair it: edgechat pull {verdict.name}")


def remove(name: Name, home: options.Home = None, config: options.Config = None) -> None:
    """Delete a model. Files that another model shares stay; files in use go once they are free."""
    settings = options.load(config, home=home)
    _check_spare(settings.home, name)
    freed = versions.remove(Store(settings.home), name)
    out.say(f"{name} is removed.")
    _tell_freed(freed)


def _check_spare(home: Path, name: str) -> None:
    """Raise InvalidRequest for what a running server answers with: without it, it would fail."""
    card = presence.find(home)
    if card is None:
        return
    rows = json.loads(presence.ask(card, "/api/dash/status"))["models"]
    if any(row["name"] == name and not row["removable"] for row in rows):
        raise InvalidRequest(
            f"the server at {card.url} answers with {name}: stop it first, with edgechat stop.", "name"
        )


def gc(
    previous: Annotated[
        bool,
        typer.Option(
            "--previous", help="Delete the versions before the last updates, too; no rollback is possible then."
        ),
    ] = False,
    home: options.Home = None,
    config: options.Config = None,
) -> None:
    """Delete leftovers of interrupted downloads and unused files."""
    settings = options.load(config, home=home)
    freed = versions.gc(Store(settings.home), previous)
    if not freed.bytes and not freed.held:
        out.say("Nothing to delete.")
    _tell_freed(freed)


def _tell_freed(freed: Freed) -> None:
    if freed.bytes:
        out.say(f"{megabytes(freed.bytes)} are free again.")
    if freed.held:
        out.say(f"{megabytes(freed.held)} are still in use, and go with the next `edgechat gc` after that.")
