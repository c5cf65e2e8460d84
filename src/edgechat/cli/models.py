"""`edgechat pull` and `edgechat models`: getting models, and what is there."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

import msgspec
import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Column, Table

from edgechat import registry
from edgechat.cli import options
from edgechat.cli.follow import WIDE, out, show_table
from edgechat.engine.fit import LEAST_CONTEXT
from edgechat.engine.llama import memory
from edgechat.errors import ConfigError, ModelError, ModelFileInvalid, ModelUnsupported
from edgechat.gguf.header import Header, read_header
from edgechat.hub.catalog import Catalog, Entry
from edgechat.hub.pull import Fetching, Published, PullEvent, Resolving, Verifying, pull
from edgechat.hub.store import Kept, Store, Stored
from edgechat.i18n import t
from edgechat.models import projectors
from edgechat.models.projectors import Projector
from edgechat.process.disk import megabytes
from edgechat.prompt.senses import EYES
from edgechat.settings import Settings
from edgechat.tune.advice import advice
from edgechat.tune.letters import ENGINE as TUNED_ENGINE
from edgechat.tune.record import Records
from edgechat.types import UNTAUGHT, Kind, Struct


class Row(Struct, frozen=True):
    """One model, as `models --json` tells it. None is what nobody knows."""

    name: str
    source: str
    revision: str | None
    sha256: str | None
    size: int | None  # bytes
    licence: str
    quantisation: str | None
    context: int | None  # tokens it was trained to read
    ram: int | None  # bytes it takes when it is served with the settings of now
    loaded: bool  # some process reads it now
    state: str  # here | damaged | to pull
    why: str | None = None  # what is wrong, or why it cannot be served with these settings
    pinned: bool = False
    update: str | None = None  # the digest that its source has, where that is another one
    checked: str | None = None  # when its source was asked last
    previous: str | None = None  # the digest that `rollback` returns to
    first_use: bool = False  # its source offers no hash: what came first was trusted
    made_from: str | None = None
    senses: tuple[Kind, ...] = ()  # what it takes beside text
    speed: float | None = None  # tokens per second to expect, of the one that a newcomer would rather take here


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("pull")(pull_model)
    app.command()(models)


def pull_model(
    model: Annotated[str, typer.Argument(help=str(Settings.model_fields["model"].description), show_default=False)],
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy the file into the home folder instead of using it in place.")
    ] = False,
    home: options.Home = None,
    config: options.Config = None,
) -> None:
    """Download a model and verify it. An interrupted download resumes; a damaged model is repaired."""
    settings = options.load(config, home=home)
    entry = Catalog.load(settings.home).find(model)
    if entry:
        out.say(f"{entry.title or entry.name}, licence {entry.licence}. {entry.licence_note}".rstrip())
    try:
        last = asyncio.run(watch(pull(model, settings, Store(settings.home), copy=copy)))
    except KeyboardInterrupt:
        out.say(f"Stopped; what is there is kept. To go on: edgechat pull {model}")
        raise typer.Exit(130) from None
    assert isinstance(last, Published)
    stored = last.model
    out.say(f"{stored.name} is ready: {megabytes(stored.size)}, SHA-256 {stored.sha256[:12]}…")
    if not stored.pulled:
        out.say(f"It stays where it is, and is not in the list of models: edgechat serve --model {stored.path}")
        out.say("With --copy it is taken in, under its name.")
    if stored.first_use:
        out.say("Its source offers no hash: these bytes are trusted because they came first, and pinned from now on.")
    if why := _refusal(stored, settings):
        out.say(why)


def _refusal(stored: Stored, settings: Settings) -> str | None:
    """Why the engine will not serve what was pulled, as far as its header tells."""
    try:
        registry.load(registry.FORECASTS, settings.engine, "engine")(stored.path).describe(0)
    except ModelError as error:
        return str(error)
    return None


async def watch(events: AsyncGenerator[PullEvent, None]) -> PullEvent:
    """Show how far `events` are: bytes, rate, time left. Returns the last one."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    last: PullEvent = Resolving()
    quiet = not out.is_terminal
    with Progress(*columns, TimeRemainingColumn(), console=out, transient=True, disable=quiet) as bar:
        task = bar.add_task(t("asking"), total=None)
        async with aclosing(events) as steps:
            async for last in steps:
                match last:
                    case Resolving(source=source):
                        bar.update(task, description=t(f"asking {source}"))
                    case Fetching(done=done, total=total):
                        bar.update(task, description=t("downloading"), completed=done, total=total or None)
                    case Verifying():
                        bar.update(task, description=t("checking every byte"))
    return last


def models(
    home: options.Home = None,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """List installed and available models."""
    settings = options.load(config, home=home)
    store, catalog = Store(settings.home), Catalog.load(settings.home)
    here = [_row(kept, store, settings) for kept in store.kept()]
    names = {row.name for row in here}
    rows = [*here, *(_offer(entry) for entry in catalog.model if entry.name not in names)]
    found = advice(settings, store, catalog)
    if found is not None:
        told = {"speed": round(found.speed, 1)}
        rows = [msgspec.structs.replace(row, **told) if row.name == found.name else row for row in rows]
    if as_json:
        typer.echo(msgspec.json.encode(rows).decode())
        return
    table = Table(Column(t("name"), no_wrap=True), t("state"), t("size"), box=None)
    wide = (t("weights"), t("context")) if out.width >= WIDE else ()
    for name in (*wide, t("RAM"), t("licence")):
        table.add_column(name)
    for row in rows:
        size, ram = (megabytes(count) if count else "?" for count in (row.size, row.ram))
        more = (row.quantisation or "?", str(row.context or "?")) if wide else ()
        table.add_row(row.name, _state(row), size, *more, ram, t(row.licence))
    show_table(table)
    for row in rows:
        if row.why:
            out.print(f"{row.name}: {t(row.why)}", markup=False)
    if found is not None:
        needs, speed = megabytes(found.memory), f"{found.speed:.0f}"
        out.say(f"Recommended here: {found.name}, with about {needs} of memory and {speed} tokens per second.")
        out.say(f"To use it: edgechat serve --model {found.name}")


def _state(row: Row) -> str:
    """What a person wants to know first."""
    marks = [
        "loaded" if row.loaded else row.state,
        *(["sees"] if "picture" in row.senses else []),
        *(["pinned"] if row.pinned else []),
        *(["update known"] if row.update else []),
        *(["trusted on first use"] if row.first_use else []),
    ]
    return ", ".join(map(t, marks))


def _row(kept: Kept, store: Store, settings: Settings) -> Row:
    """A model on disk. What it takes of the memory is what the file takes that tuning chose for it, where one did."""
    model, wrong = kept.model, kept.wrong
    header: Header | None = None
    tuned = Records(settings.home).serving(model, store) if settings.engine == TUNED_ENGINE else None
    loaded = tuned[1] if tuned else model
    if wrong is None and model.path.is_file():
        try:
            header = read_header(model.path)
        except ModelFileInvalid as error:
            wrong = str(error)
    ram, short = None, None
    projector = (
        projectors.of(model.path, (*loaded.companions, *model.companions)) if settings.engine in registry.EYES else None
    )
    if header is not None:
        short = UNTAUGHT if header.template is None and not memory.embeds(header) else None
        ram, why = _ram(header if loaded is model else read_header(loaded.path), settings, projector)
        short = why or short
    return Row(
        name=model.name,
        source=model.source,
        revision=model.revision,
        sha256=model.sha256,
        size=model.size,
        licence=model.licence or (header.licence if header else None) or "unknown",
        quantisation=header.label if header else None,
        context=header.context if header else None,
        ram=ram,
        loaded=store.is_held(loaded),
        state="damaged" if wrong else "here",
        why=f"{wrong}. Mend it: edgechat pull {model.name}" if wrong else short,
        pinned=kept.pinned,
        update=kept.newer,
        checked=kept.checked,
        previous=kept.previous.sha256 if kept.previous else None,
        first_use=model.first_use,
        made_from=model.made_from,
        senses=EYES if projector else (),
    )


def _ram(header: Header, settings: Settings, projector: Projector | None) -> tuple[int | None, str | None]:
    """(bytes that the engine plans for the model here, or would need at least; why it cannot be served so)."""
    eyes, given = projector.bytes if projector else 0, int(settings.memory)
    try:
        return memory.plan(header, settings.context, given and max(1, given - eyes)).bytes + eyes, None
    except ModelUnsupported as error:
        return None, str(error)
    except ConfigError as error:
        wanted = min(header.context or LEAST_CONTEXT, settings.context or LEAST_CONTEXT)
        return memory.fixed_bytes(header) + wanted * memory.cell_bytes(header) + eyes, str(error)


def _offer(entry: Entry) -> Row:
    """A model that can be pulled."""
    return Row(
        name=entry.name,
        source=entry.sources[0],
        revision=None,
        sha256=entry.sha256,
        size=entry.total,
        licence=entry.licence,
        quantisation=None,
        context=entry.context or None,
        ram=None,
        loaded=False,
        state="to pull",
        senses=entry.senses,
    )
