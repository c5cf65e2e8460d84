"""`edgechat status`: what the server of this home folder does now."""

import json
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from edgechat import presence
from edgechat.cli import options
from edgechat.cli.follow import out
from edgechat.errors import ConfigError, ServiceError
from edgechat.i18n import t
from edgechat.process.disk import megabytes

EVERY_S = 1.0
COLOURS = {"ready": "green", "failed": "red", "paused": "yellow", "draining": "yellow"}
ERRORS = 5  # are shown
WIDTH = 40  # characters of a bar


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(status)


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Refresh once a second, until Ctrl-C.")] = False,
    home: options.Home = None,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Show what the running server is doing.

    State, model, answers, speed, memory, last errors.
    Ends with status 1 if none runs from this home folder, or if its model cannot be served.
    """
    if watch and as_json:
        raise ConfigError("--json is one document: it does not go with --watch.")
    folder = options.load(config, home=home).home
    found = look(folder)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
    elif watch and found["running"]:
        found = _watch(folder, found)
    else:
        out.print(seen(found))
    if not found["running"] or found["state"] == "failed":
        raise typer.Exit(1)


def look(home: Path) -> dict[str, Any]:
    """What the server of `home` tells, or why it tells nothing."""
    card = presence.find(home)
    if card is None:
        return {"running": False, "home": str(home), "why": f"no server runs from {home}. Start one: edgechat serve"}
    try:
        told = json.loads(presence.ask(card, "/api/dash/status"))
    except ServiceError as error:
        return {"running": False, "home": str(home), "pid": card.pid, "url": card.url, "why": str(error)}
    return {"running": True, "home": str(home), "url": card.url, **told}


def _watch(home: Path, found: dict[str, Any]) -> dict[str, Any]:
    """Show it until the server ends or somebody has seen enough; the last of it."""
    live = Live(console=out, auto_refresh=False) if out.is_terminal else None
    with suppress(KeyboardInterrupt), live or nullcontext():
        while True:
            if live:
                live.update(seen(found), refresh=True)
            else:
                out.print(seen(found))
            if not found["running"] or out.quiet:  # a pipe's reader that has gone has seen enough
                break
            time.sleep(EVERY_S)
            found = look(home)
    return found


# ── what is seen ──


def seen(found: dict[str, Any]) -> RenderableType:
    """`found` for a person."""
    if not found["running"]:
        why = t(found["why"])
        return Text(f"{why[:1].upper()}{why[1:]}")
    return Group(*_parts(found))


def _parts(found: dict[str, Any]) -> Iterator[RenderableType]:
    about = t(f"{found['url']}, process {found['pid']}, up {age(found['uptime_s'])}")
    yield Text.assemble(("edgechat ", "bold"), found["version"], (f"  {about}", "dim"))
    colour = COLOURS.get(found["state"], "cyan")
    yield Text.assemble(("● ", colour), (t(found["state"]), f"bold {colour}"), "  ", found["model"] or "")
    if found["progress"] is not None:
        yield ProgressBar(total=1.0, completed=found["progress"], width=WIDTH)
    for line in (found["why"], found["hint"]):
        if line:
            yield Text(f"  {t(line)}", style="yellow")
    yield Text()
    yield _figures(found)
    yield from _tables(found)


def _figures(found: dict[str, Any]) -> RenderableType:
    sample = found["sample"] or {}
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column()
    memory = found["memory"]

    def number(name: str, unit: str = "") -> str:
        value = sample.get(name)
        return "–" if value is None else f"{value:,.1f}".removesuffix(".0") + unit

    grid.add_row(t("writing"), t(f"{number('decode')} tokens/s"))
    grid.add_row(t("reading"), t(f"{number('prefill')} tokens/s"))
    grid.add_row(t("answers"), t(f"{number('running')} in progress, {number('waiting')} waiting"))
    grid.add_row(t("first token"), t(f"median {number('first', ' s')}, p95 {number('slow', ' s')} (last minute)"))
    taken = f"{megabytes(sample['rss'])}, " if sample else ""
    planned, limit = megabytes(memory["planned"]), megabytes(memory["limit"])
    grid.add_row(t("memory"), taken + t(f"{planned} of {limit} for models"))
    heat = f", {number('celsius', ' °C')}" if sample.get("celsius") else ""
    grid.add_row(t("processor"), t(f"{number('cpu', ' %')} of all cores") + heat)
    grid.add_row(t("cache"), t(f"{number('cells', ' %')} used by answers in progress"))
    if found["log_lines_dropped"]:
        grid.add_row(t("log"), Text(t(f"{found['log_lines_dropped']} lines could not be written"), style="yellow"))
    return grid


def _tables(found: dict[str, Any]) -> Iterator[RenderableType]:
    yield Text()
    heads = (t("model"), t("state"), t("weights"), t("memory"), t("context"), t("answers"))
    models = Table(*heads, box=None, pad_edge=False)
    for one in found["models"]:
        ram = megabytes(one["ram"]) if one["ram"] else "?"
        context = f"{one['context']:,}" if one.get("context") else ""
        models.add_row(
            one["name"], t(one["state"]), one["quantisation"] or "?", ram, context, str(one.get("busy") or "")
        )
    yield models
    if found["requests"]:
        yield Text()
        columns = (t("client"), t("model"), t("phase"), t("read"), t("written"), t("tokens/s"), t("age"))
        answers = Table(*columns, box=None, pad_edge=False)
        for one in found["requests"]:
            read, speed = f"{one['read']}/{one['total']}", str(one["tok_s"] or "")
            answers.add_row(
                one["client"], one["model"], t(one["phase"]), read, str(one["said"]), speed, age(one["age_s"])
            )
        yield answers
    if found["errors"]:
        yield Text()
        for one in found["errors"][:ERRORS]:
            at = datetime.fromtimestamp(one["at"]).strftime("%H:%M:%S")  # the clock on the wall of whoever looks
            yield Text.assemble((f"{at}  ", "dim"), (one["code"], "red"), f"  {t(one['message'])}")


def age(seconds: float) -> str:
    """A duration as people say it."""
    minutes, hours, days = (int(seconds // unit) for unit in (60, 3600, 86_400))
    if days:
        return t(f"{days} d {hours % 24} h")
    if hours:
        return t(f"{hours} h {minutes % 60} min")
    return t(f"{minutes} min") if minutes else t(f"{seconds:.0f} s")
