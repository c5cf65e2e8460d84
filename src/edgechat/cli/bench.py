"""`edgechat bench`: measure servers on this machine as their users see them."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.status import Status

from edgechat.bench import picture
from edgechat.bench.client import Address, address
from edgechat.bench.probes import PROBES
from edgechat.bench.report import Report, markdown, report, show
from edgechat.bench.run import MOST_ADDRESSES, MOST_RUNS, Measured, measure
from edgechat.cli import options
from edgechat.cli.follow import out
from edgechat.errors import ConfigError, StorageError, UnknownName

LABELS = "ABCDEFGH"

Minutes = Annotated[float, typer.Option("--minutes", min=0.05, max=600, help="How long the probe soak runs.")]
Page = Annotated[Path | None, typer.Option("--markdown", help="Write the tables to this file too.")]
Png = Annotated[Path | None, typer.Option("--png", help="Draw the figures into this file (extra: plot).")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(bench)


def bench(
    urls: Annotated[
        list[str],
        typer.Argument(metavar="URL...", help="Base addresses on this machine, such as http://127.0.0.1:8080."),
    ],
    probe: Annotated[
        list[str] | None,
        typer.Option(
            "--probe",
            help=f"What to measure, several times for several; without it all but soak: {', '.join(PROBES)}.",
        ),
    ] = None,
    runs: Annotated[int, typer.Option("--runs", min=1, max=MOST_RUNS, help="Runs of each probe.")] = 3,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Model to ask for: once for all addresses, or once for each."),
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="API key; - reads it from standard input.", show_default=False)
    ] = None,
    restart: Annotated[
        list[str] | None,
        typer.Option(
            "--restart",
            help="Shell command that restarts the server, for the probe of that name: once for all addresses, or once "
            "for each (empty: none). It finds the address in BENCH_URL.",
        ),
    ] = None,
    minutes: Minutes = 1.0,
    page: Page = None,
    png: Png = None,
    as_json: options.Json = False,
) -> None:
    """Measure any OpenAI-compatible servers on this machine, from the client's side.

    Several addresses take turns, run by run; every ratio is to the first one. An address given twice shows how much
    figures differ by chance. Ctrl-C shows the probes that are done. Ends with status 1 if a figure could not be had.
    """
    names = list(dict.fromkeys(probe or (name for name, each in PROBES.items() if each.usual)))
    if png is not None:
        picture.check()
    for name in names:
        if name not in PROBES:
            raise UnknownName("probe", name, list(PROBES))
    addresses = _addresses(urls, model, restart)
    kept = [Measured((), {})]
    stopped = False
    try:
        asyncio.run(_measure(addresses, names, runs, _key(key), kept, minutes))
    except KeyboardInterrupt:
        stopped = True
    found = report(addresses, runs, kept[-1])
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
    else:
        show(found, out)
    _keep(found, page, png)
    if stopped or found.failed:
        raise typer.Exit(130 if stopped else 1)


def _keep(found: Report, page: Path | None, png: Path | None) -> None:
    try:
        if page is not None:
            page.write_text(markdown(found), encoding="utf-8")
        if png is not None:
            picture.draw(found, png)
    except OSError as error:
        raise StorageError(f"{error.filename} cannot be written: {error.strerror}.") from error


async def _measure(
    addresses: list[Address], names: list[str], runs: int, key: str | None, kept: list[Measured], minutes: float
) -> None:
    """Progress goes to standard error: one line that changes, or one line each where nobody watches a terminal."""
    console = Console(stderr=True, highlight=False)
    with Status("", console=console) as status:
        tell = status.update if console.is_terminal else console.print
        await measure(addresses, names, runs, key, tell, kept.append, minutes * 60)


def _addresses(urls: list[str], models: list[str] | None, restarts: list[str] | None) -> list[Address]:
    if len(urls) > MOST_ADDRESSES:
        raise ConfigError(f"at most {MOST_ADDRESSES} addresses are compared at once.")
    each = zip(
        LABELS[: len(urls)], urls, _each("--model", models, urls), _each("--restart", restarts, urls), strict=True
    )
    return [address(label, url, model or None, restart or None) for label, url, model, restart in each]


def _each(flag: str, values: list[str] | None, urls: list[str]) -> list[str]:
    """One value per address, from none, one, or one per address."""
    given = values or [""]
    if len(given) not in (1, len(urls)):
        raise ConfigError(f"{flag} is given once for all addresses, or once for each of the {len(urls)}.")
    return given * len(urls) if len(given) == 1 else given


def _key(key: str | None) -> str | None:
    key = sys.stdin.readline().strip() if key == "-" else key
    if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
        raise ConfigError("the API key has characters that no header may carry.")
    return key
