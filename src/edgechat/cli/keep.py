"""`edgechat verify`, `remove`, `gc`: whether what is here is right, and making room."""

from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.status import Status

from edgechat.cli import options
from edgechat.cli.follow import out
from edgechat.hub import versions
from edgechat.hub.blobs import Freed
from edgechat.hub.disk import megabytes
from edgechat.hub.store import Store
from edgechat.types import Struct

Name = Annotated[str, typer.Argument(help="Name of a model that is here.", show_default=False)]
Names = Annotated[
    list[str] | None, typer.Argument(help="Names of models that are here; without one, all.", show_default=False)
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
        with Status(f"reading {name}", console=Console(stderr=True)):
            wrong = store.examine(name)
        verdicts.append(Verdict(name, marker.current.manifest.digest, not wrong, wrong))
        if not as_json:
            _tell(verdicts[-1])
    if as_json:
        typer.echo(msgspec.json.encode(verdicts).decode())
    elif not verdicts:
        out.print("No model is here.")
    if not all(verdict.ok for verdict in verdicts):
        raise typer.Exit(1)


def _tell(verdict: Verdict) -> None:
    if verdict.ok:
        out.print(f"{verdict.name}: every byte is right (SHA-256 {verdict.sha256})", markup=False)
        return
    for line in verdict.wrong:
        out.print(f"{verdict.name}: {line}", markup=False)
    out.print(f"{verdict.name} is damaged and is not loaded. Mend it: edgechat pull {verdict.name}", markup=False)


def remove(name: Name, home: options.Home = None, config: options.Config = None) -> None:
    """Delete a model. What another model uses stays; what is being read goes when its reader ends."""
    settings = options.load(config, home=home)
    out.print(f"{name} is removed: {_given_back(versions.remove(Store(settings.home), name))}", markup=False)


def gc(
    previous: Annotated[
        bool, typer.Option("--previous", help="Delete the versions before the last updates, too: no rollback then.")
    ] = False,
    home: options.Home = None,
    config: options.Config = None,
) -> None:
    """Delete leftovers of interrupted downloads and unused files."""
    settings = options.load(config, home=home)
    told = _given_back(versions.gc(Store(settings.home), previous))
    out.print(f"{told[:1].upper()}{told[1:]}", markup=False)


def _given_back(freed: Freed) -> str:
    if not freed.bytes and not freed.held:
        return "nothing to delete."
    held = f"; {megabytes(freed.held)} are still read, and go with the next gc after that" if freed.held else ""
    return f"{megabytes(freed.bytes)} are free again{held}."
