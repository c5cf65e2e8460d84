"""`edgechat pull` and `edgechat models`: getting models, and what is there."""

import asyncio
import json
from contextlib import aclosing
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Column, Table

from edgechat import gguf
from edgechat.cli import options
from edgechat.cli.follow import out
from edgechat.errors import ModelFileInvalid
from edgechat.hub.catalog import Catalog, Entry
from edgechat.hub.disk import megabytes
from edgechat.hub.pull import Fetching, Published, Resolving, Verifying, pull
from edgechat.hub.store import Store, Stored
from edgechat.settings import Settings

USUAL_CONTEXT = 4096  # tokens that the memory column is computed for


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("pull")(pull_model)
    app.command()(models)


def pull_model(
    model: Annotated[str, typer.Argument(help=str(Settings.model_fields["model"].description), show_default=False)],
    home: options.Home = None,
    config: options.Config = None,
) -> None:
    """Get a model and check it. A pull that was stopped goes on where it was."""
    settings = options.load(config, home=home)
    entry = Catalog.load().find(model)
    if entry:
        out.print(f"{entry.title}, licence {entry.licence}. {entry.licence_note}".rstrip(), markup=False)
    try:
        stored = asyncio.run(_pull(model, settings))
    except KeyboardInterrupt:
        out.print(f"Stopped; what is there is kept. Go on: edgechat pull {model}", markup=False)
        raise typer.Exit(130) from None
    out.print(f"{stored.name} is ready: {megabytes(stored.size)}, SHA-256 {stored.sha256[:12]}…", markup=False)


async def _pull(model: str, settings: Settings) -> Stored:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=out, transient=True) as bar:
        task = bar.add_task("asking", total=None)
        async with aclosing(pull(model, settings, Store(settings.home))) as steps:
            async for step in steps:
                match step:
                    case Resolving(source=source):
                        bar.update(task, description=f"asking {source}")
                    case Fetching(done=done, total=total):
                        bar.update(task, description="fetching", completed=done, total=total or None)
                    case Verifying():
                        bar.update(task, description="checking every byte")
                    case Published(model=stored):
                        return stored
    raise AssertionError("a pull ends with Published or an error")


def models(
    home: options.Home = None,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """List the models that are here, and those that have a name in the catalog."""
    settings = options.load(config, home=home)
    stored = {model.name: model for model in Store(settings.home).list()}
    rows = [_row(model) for model in stored.values()]
    rows += [_offer(entry) for entry in Catalog.load().model if entry.name not in stored]
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False))
        return
    table = Table(
        Column("name", no_wrap=True),
        "state",
        "size",
        "weights",
        "context",
        f"RAM at {USUAL_CONTEXT}",
        "licence",
        box=None,
    )
    for row in rows:
        ram = megabytes(row["ram"]) if row["ram"] else "?"
        weights, context = row["quantisation"] or "?", str(row["context"] or "?")
        table.add_row(row["name"], row["state"], megabytes(row["size"]), weights, context, ram, row["licence"] or "?")
    out.print(table)


def _row(model: Stored) -> dict[str, Any]:
    """A model on disk. `ram` in bytes: weights and a 16-bit KV cache; `loaded` is not known from outside a server."""
    row = {name: getattr(model, name) for name in ("name", "source", "revision", "sha256", "size", "licence")}
    try:
        header = gguf.read_header(model.path)
    except ModelFileInvalid:
        return row | {"quantisation": None, "context": None, "ram": None, "loaded": None, "state": "damaged"}
    cache = (header.kv_bytes_per_token or 0) * min(USUAL_CONTEXT, header.context or USUAL_CONTEXT)
    told = {"quantisation": header.quantisation, "context": header.context, "ram": model.size + cache}
    return row | told | {"loaded": None, "state": "here"}


def _offer(entry: Entry) -> dict[str, Any]:
    """A model that can be pulled."""
    row: dict[str, Any] = {"name": entry.name, "source": entry.sources[0], "revision": None, "sha256": entry.sha256}
    row |= {"size": entry.size, "licence": entry.licence, "quantisation": None, "context": entry.context}
    return row | {"ram": None, "loaded": False, "state": "to pull"}
