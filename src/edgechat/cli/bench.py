"""`edgechat bench`: measure servers on this machine as their users see them."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.status import Status

from edgechat.bench import picture
from edgechat.bench.client import Address
from edgechat.bench.local import Model, served
from edgechat.bench.probes import PROBES
from edgechat.bench.report import Report, markdown, report, show
from edgechat.bench.run import MOST_RUNS, Measured, measure
from edgechat.bench.targets import targets_of
from edgechat.cli import options
from edgechat.cli.follow import out
from edgechat.errors import ConfigError, StorageError, UnknownName

Tell = Callable[[str], None]
Targets = Annotated[
    list[str],
    typer.Argument(
        metavar="TARGET...",
        help="Base addresses on this machine, such as http://127.0.0.1:8080, or models: bench serves those meanwhile.",
    ),
]
Versus = Annotated[
    list[str] | None, typer.Option("--vs", metavar="TARGET", help="One more, to be compared with the first.")
]
Serve = Annotated[
    list[str] | None,
    typer.Option(
        "--serve",
        help="Flags of `edgechat serve` for models, such as '--threads 1': once for all targets, or once for each.",
    ),
]
Probe = Annotated[
    list[str] | None,
    typer.Option(
        "--probe", help=f"What to measure, several times for several; without it all but soak: {', '.join(PROBES)}."
    ),
]
Runs = Annotated[int, typer.Option("--runs", min=1, max=MOST_RUNS, help="Runs of each probe.")]
ModelName = Annotated[
    list[str] | None,
    typer.Option("--model", "-m", help="Model to ask a server for: once for all targets, or once for each."),
]
Key = Annotated[str | None, typer.Option("--key", help="API key; - reads it from standard input.", show_default=False)]
Restart = Annotated[
    list[str] | None,
    typer.Option(
        "--restart",
        help="Shell command that restarts the server, for the probe of that name: once for all targets, or once "
        "for each (empty: none). It finds the address in BENCH_URL.",
    ),
]
Minutes = Annotated[float, typer.Option("--minutes", min=0.05, max=600, help="How long the probe soak runs.")]
Page = Annotated[Path | None, typer.Option("--markdown", help="Write the tables to this file too.")]
Png = Annotated[Path | None, typer.Option("--png", help="Draw the figures into this file (extra: plot).")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(bench)


def bench(
    targets: Targets,
    against: Versus = None,
    serve: Serve = None,
    probe: Probe = None,
    runs: Runs = 3,
    model: ModelName = None,
    key: Key = None,
    restart: Restart = None,
    minutes: Minutes = 1.0,
    home: options.Home = None,
    page: Page = None,
    png: Png = None,
    as_json: options.Json = False,
) -> None:
    """Measure any OpenAI-compatible servers on this machine, from the client's side.

    Several targets take turns, run by run; every ratio is to the first one. A target given twice shows how much
    figures differ by chance. Ctrl-C shows the probes that are done. Ends with status 1 if a figure could not be had.
    """
    names = list(dict.fromkeys(probe or (name for name, each in PROBES.items() if each.usual)))
    if png is not None:
        picture.check()
    for name in names:
        if name not in PROBES:
            raise UnknownName("probe", name, list(PROBES))
    wanted = targets_of([*targets, *(against or [])], model, restart, serve)
    folder, secret = options.load(home=home).home, _key(key)
    addresses: list[Address] = []
    kept = [Measured((), {})]
    stopped = False

    async def work(tell: Tell) -> None:
        async with AsyncExitStack() as servers:
            for one in wanted:
                ours = served(one, folder, tell) if isinstance(one, Model) else nullcontext(one)
                addresses.append(await servers.enter_async_context(ours))
            await measure(addresses, names, runs, secret, tell, kept.append, minutes * 60)

    try:
        with _progress() as tell:
            asyncio.run(_until_ended(work(tell)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        stopped = True
    found = report(addresses, runs, kept[-1])
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
    else:
        show(found, out)
    _keep(found, page, png)
    if stopped or found.failed:
        raise typer.Exit(130 if stopped else 1)


async def _until_ended(work: Coroutine[None, None, None]) -> None:
    """`work`, which SIGTERM stops as Ctrl-C does: the servers that it started end with it."""
    running = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    await running


@contextmanager
def _progress() -> Iterator[Tell]:
    """Goes to standard error: one line that changes, or one line each where nobody watches a terminal."""
    console = Console(stderr=True, highlight=False)
    with Status("", console=console) as status:
        yield status.update if console.is_terminal else console.print


def _keep(found: Report, page: Path | None, png: Path | None) -> None:
    try:
        if page is not None:
            page.write_text(markdown(found), encoding="utf-8")
        if png is not None:
            picture.draw(found, png)
    except OSError as error:
        raise StorageError(f"{error.filename} cannot be written: {error.strerror}.") from error


def _key(key: str | None) -> str | None:
    key = sys.stdin.readline().strip() if key == "-" else key
    if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
        raise ConfigError("the API key has characters that no header may carry.")
    return key
