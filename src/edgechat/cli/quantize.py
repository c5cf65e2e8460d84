"""`edgechat quantize`: a model in smaller weights, made here and kept like a pulled one."""

import asyncio
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from edgechat import machine
from edgechat.cli import eyes, options
from edgechat.cli.follow import out
from edgechat.cli.models import watch
from edgechat.errors import StorageError
from edgechat.gguf.quantize import BODIES, Recipe
from edgechat.gguf.quantize import quantize as write
from edgechat.hub.catalog import Catalog
from edgechat.hub.publish import publish
from edgechat.hub.pull import Published, in_thread, pull
from edgechat.hub.source import File, Manifest
from edgechat.hub.store import Store, Stored
from edgechat.i18n import t
from edgechat.models import projectors
from edgechat.process.disk import megabytes, writing
from edgechat.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(quantize)


def quantize(
    source: Annotated[str, typer.Argument(help="Model to start from, named as for `pull`.", show_default=False)],
    type: Annotated[  # noqa: A002  (the name in the usage line)
        str,
        typer.Argument(
            help=f"What to write: {', '.join(BODIES)}; with /TYPE behind it, the type of the head (such as "
            "IQ4_NL/IQ4_NL).",
            show_default=False,
        ),
    ],
    allow_requantize: Annotated[
        bool,
        typer.Option("--allow-requantize", help="Allow a source below 8 bits, which loses quality twice."),
    ] = False,
    threads: options.Threads = None,
    home: options.Home = None,
    config: options.Config = None,
) -> None:
    """Quantize a model: write its weights in other types. Best from F16 or Q8_0; the result names its origin."""
    settings = options.load(config, home=home, threads=threads)
    recipe = Recipe.parse(type)
    try:
        stored = asyncio.run(_make(source, recipe, settings, allow_requantize))
    except KeyboardInterrupt:
        out.say("Stopped; nothing is kept.")
        raise typer.Exit(130) from None
    out.say(f"{stored.name} ({megabytes(stored.size)}) is ready: edgechat serve --model {stored.name}")


async def _make(source: str, recipe: Recipe, settings: Settings, allow_requantize: bool) -> Stored:
    store, catalog = Store(settings.home), Catalog.load(settings.home)
    last = await watch(pull(source, settings, store, catalog))
    assert isinstance(last, Published)
    start = last.model
    name = f"{start.name}-{str(recipe).lower().replace('/', '-')}"
    made_from = f"{start.name} (SHA-256 {start.sha256}) as {recipe}"
    stage = store.stage(made_from)
    with writing(store.models):
        if not stage.take():
            raise StorageError(f"{name} is being made already.")
    try:
        file, sees = f"{name}.gguf", f"{projectors.PREFIX}-{name}.gguf"
        see = eyes.writer(start, settings.threads or machine.cores(), out.say)
        manifest = Manifest(
            name,
            f"quantized:{start.sha256}:{recipe}",
            start.revision,
            (File(file), File(sees)) if see else (File(file),),
            start.licence,
            made_from=made_from,
        )
        stage.clear()
        stage.begin(manifest)
        columns, quiet = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()), not out.is_terminal
        with Progress(*columns, console=out, transient=True, disable=quiet) as bar:
            task = bar.add_task(t(f"writing {name}"), total=1.0)
            with store.hold(start), writing(stage.files):
                await write(
                    start.path,
                    stage.files / file,
                    recipe,
                    settings.threads or machine.cores(),
                    allow_requantize,
                    tell=lambda done: bar.update(task, completed=done),
                )
            if see:
                await asyncio.to_thread(see, stage.files / sees)
        return await in_thread(lambda stop: publish(store, stage, manifest, made_from, catalog.names, stop))
    finally:
        stage.clear()
        stage.leave()
