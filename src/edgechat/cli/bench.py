"""`edgechat bench`: measure servers on this machine as their users see them."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.status import Status

from edgechat import machine
from edgechat.bench import picture
from edgechat.bench.article import Article, article, compared, models_here
from edgechat.bench.client import Address
from edgechat.bench.family import Family, family, told
from edgechat.bench.local import Model, served
from edgechat.bench.probes import PROBES
from edgechat.bench.report import Report, markdown, report, show
from edgechat.bench.run import MOST_RUNS, Measured, measure
from edgechat.bench.targets import targets_of
from edgechat.cli import options
from edgechat.cli.follow import out
from edgechat.errors import ConfigError, UnknownName
from edgechat.i18n import t

Tell = Callable[[str], None]
Found = TypeVar("Found", Article, Family)
Targets = Annotated[
    list[str],
    typer.Argument(
        metavar="TARGET",
        help="Base addresses on this machine, such as http://127.0.0.1:8080, or models: bench serves those meanwhile. "
        "After the word soak: the probe of that name alone. After the word article: models for the article's table; "
        "without any, those of its three that are here. After the word family: models whose speed is measured, and "
        "whose answers are compared with those of their own weights in float32.",
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
        "--probe",
        help="What to measure, several times for several; without it all but size, soak and pictures: "
        f"{', '.join(PROBES)}.",
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
    """Compare OpenAI-compatible servers on this machine.

    Measured from the client's side. Several targets take turns, run by run; every ratio is to the first one. A target
    given twice shows how much figures differ by chance. Ctrl-C shows the probes that are done. Ends with status 1 if a
    figure could not be had.
    """
    folder = options.load(home=home).home
    if targets[0] == "article":
        if against or serve or probe or model or key or restart or png:
            raise ConfigError("bench article takes models, --runs, --home, --markdown and --json, and nothing else.")
        _article(targets[1:] or models_here(folder), runs, folder, page, as_json)
        return
    if targets[0] == "family":
        if against or serve or probe or model or key or restart or png:
            raise ConfigError("bench family takes models, --runs, --home, --markdown and --json, and nothing else.")
        if not targets[1:]:
            raise ConfigError("name the models: edgechat bench family qwen3.5-0.8b.")
        _family(targets[1:], runs, folder, page, as_json)
        return
    if targets[0] == "soak":
        targets, probe = targets[1:], [*(probe or []), "soak"]
    if not targets:
        raise ConfigError("name what is to be measured: an address such as http://127.0.0.1:8080, or a model.")
    names = list(dict.fromkeys(probe or (name for name, each in PROBES.items() if each.usual)))
    if png is not None:
        picture.check()
    for name in names:
        if name not in PROBES:
            raise UnknownName("probe", name, list(PROBES))
    found, stopped = _compare(
        targets_of([*targets, *(against or [])], model, restart, serve), names, runs, key, minutes, folder
    )
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
    else:
        show(found, out)
    _keep(found, page, png)
    if stopped or found.failed:
        raise typer.Exit(130 if stopped else 1)


def _compare(
    targets: list[Address | Model], names: list[str], runs: int, key: str | None, minutes: float, home: Path
) -> tuple[Report, bool]:
    """What was found, and whether it was stopped before the end."""
    secret = _key(key)
    addresses: list[Address] = []
    kept = [Measured((), {})]

    async def work(tell: Tell) -> None:
        async with AsyncExitStack() as servers:
            for one in targets:
                ours = served(one, home, tell) if isinstance(one, Model) else nullcontext(one)
                addresses.append(await servers.enter_async_context(ours))
            await measure(addresses, names, runs, secret, tell, kept.append, minutes * 60)

    stopped = False
    try:
        _run(work)
    except (KeyboardInterrupt, asyncio.CancelledError):
        stopped = True
    return report(addresses, runs, kept[-1]), stopped


def _article(models: list[str], runs: int, home: Path, page: Path | None, as_json: bool) -> None:
    found = _whole(lambda tell: article(models, machine.cores(), runs, home, tell))
    _present(found, [found.models, found.threads], compared(found), page, as_json)


def _family(models: list[str], runs: int, home: Path, page: Path | None, as_json: bool) -> None:
    found = _whole(lambda tell: family(models, runs, home, tell))
    _present(found, [found.models], told(found), page, as_json)


def _whole(find: Callable[[Tell], Awaitable[Found]]) -> Found:
    """What `find` finds. Half of it would compare nothing: Ctrl-C ends the program."""
    kept: list[Found] = []

    async def work(tell: Tell) -> None:
        kept.append(await find(tell))

    try:
        _run(work)
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(130) from None
    return kept[0]


def _present(
    found: Article | Family, tables: Sequence[Report], lines: Iterable[str], page: Path | None, as_json: bool
) -> None:
    """Print `found`, whose tables and lines these are, and write it to `page`."""
    lines = list(lines)
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
    else:
        for table in tables:
            show(table, out)
        out.print("\n".join(map(t, lines)), markup=False)
    if page is not None:
        _write(page, "\n".join([*map(markdown, tables), *lines, ""]))
    if found.failed:
        raise typer.Exit(1)


def _run(work: Callable[[Tell], Coroutine[None, None, None]]) -> None:
    """Do `work` and show how it goes. SIGTERM stops it as Ctrl-C does: the servers that it started end with it."""

    async def ended_by_sigterm(tell: Tell) -> None:
        running = asyncio.ensure_future(work(tell))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
        await running

    with _progress() as tell:
        asyncio.run(ended_by_sigterm(tell))


@contextmanager
def _progress() -> Iterator[Tell]:
    """Goes to standard error: one line that changes, or one line each where nobody watches a terminal."""
    console = Console(stderr=True, highlight=False)
    with Status("", console=console) as status:
        show = status.update if console.is_terminal else console.print
        yield lambda text: show(t(text))


def _keep(found: Report, page: Path | None, png: Path | None) -> None:
    if page is not None:
        _write(page, markdown(found))
    if png is not None:
        with options.writing(png):
            picture.draw(found, png)


def _write(page: Path, text: str) -> None:
    with options.writing(page):
        page.write_text(text, encoding="utf-8")


def _key(key: str | None) -> str | None:
    key = sys.stdin.readline().strip() if key == "-" else key
    if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
        raise ConfigError("the API key has characters that no header may carry.")
    return key
