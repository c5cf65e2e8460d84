"""`edgechat tune`: find the fastest way to run a model on this machine."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

import msgspec
import psutil
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table

from edgechat import machine
from edgechat.bench import picture as bars
from edgechat.bench.report import QUIET
from edgechat.cli import eyes, options
from edgechat.cli.follow import err, out
from edgechat.cli.tuning import check
from edgechat.errors import UnknownName
from edgechat.hub.catalog import Catalog
from edgechat.hub.pull import Published, pull
from edgechat.hub.store import Store
from edgechat.hub.stored import Stored
from edgechat.i18n import t
from edgechat.process.disk import megabytes
from edgechat.settings import Settings
from edgechat.tune import picture, plot
from edgechat.tune.choice import FLOORS, QUALITIES, Candidate, pareto
from edgechat.tune.lab import Lab
from edgechat.tune.progress import Step
from edgechat.tune.record import Records, Tuned
from edgechat.tune.run import Wish, tune

MINUTE = 60
GLANCE_S = 0.5  # at what other programs do

Png = Annotated[Path | None, typer.Option("--png", help="Draw speed against quality into this file (extra: plot).")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("tune")(tune_model)


def tune_model(
    model: Annotated[
        str | None, typer.Argument(help=str(Settings.model_fields["model"].description), show_default=False)
    ] = None,
    quality: Annotated[
        str,
        typer.Option(
            "--quality",
            help="How near to the source the answers must stay, as mean KL divergence: "
            + ", ".join(f"{name} (at most {floor:g})" for name, floor in FLOORS.items())
            + ".",
        ),
    ] = "balanced",
    memory: options.Memory = None,
    threads: options.Threads = None,
    home: options.Home = None,
    config: options.Config = None,
    png: Png = None,
    as_json: options.Json = False,
) -> None:
    """Find the fastest way to run a model on this machine.

    The result is remembered, and `serve` uses it from then on.

    Tries other types for the model's weights, measures speed and quality, and publishes the best as a model of its
    own. Takes minutes and some gigabytes of disk while it works. Ctrl-C stops it; called again, it goes on.
    """
    if quality not in QUALITIES:
        raise UnknownName("quality", quality, list(QUALITIES))
    settings = options.load(config, memory=memory, threads=threads, home=home)
    check(settings)
    if png is not None:
        bars.check()
    wish = Wish(quality, int(settings.memory), settings.threads)
    try:
        found = asyncio.run(_tune(model or settings.model or Catalog.load().default, settings, wish))
    except KeyboardInterrupt:
        err.say("Stopped; what was measured is kept. To go on, run the same command.")
        raise typer.Exit(130) from None
    if png is not None:
        with options.writing(png):
            picture.draw(found, png)
    if as_json:
        typer.echo(msgspec.json.encode(_document(found)).decode())
    else:
        _show(found)


async def _tune(reference: str, settings: Settings, wish: Wish) -> Tuned:
    store = Store(settings.home)
    model = await _on_disk(reference, settings, store)
    tell_of_others()
    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=1.0, left="")
        told = ""

        def tell(step: Step) -> None:
            nonlocal told
            left = "" if step.left_s is None else t(f"about {_span(step.left_s)} left")
            bar.update(task, description=t(step.doing), completed=step.fraction, left=left)
            if step.doing != told and not console.is_terminal:
                console.print(f"{step.fraction:4.0%} {t(step.doing)} {left}".rstrip())
            told = step.doing

        see = eyes.writer(model, settings.threads or machine.cores(), console.print)
        async with Lab() as lab:
            return await tune(model, store, Records(settings.home), lab, wish, tell, see)


def tell_of_others() -> None:
    """Say that figures will be less sure, where other programs compute now."""
    busy = psutil.cpu_percent(interval=GLANCE_S) / 100
    if busy > QUIET:
        err.say(
            f"Other programs use {busy:.0%} of the processor: tuning takes longer, and finds less surely what is best."
        )


async def _on_disk(reference: str, settings: Settings, store: Store) -> Stored:
    async with aclosing(pull(reference, settings, store)) as steps:
        async for step in steps:
            if isinstance(step, Published):
                return step.model
    raise AssertionError("a pull ends with Published or an error")


def _span(seconds: float) -> str:
    return t(f"{seconds / MINUTE:.0f} min") if seconds > 1.5 * MINUTE else t(f"{seconds:.0f} s")


def _document(found: Tuned) -> dict[str, Any]:
    """What --json prints."""
    every: dict[str, Any] = {"model": found.model, "quality": found.quality, "source": found.source}
    every |= {"seconds": found.seconds, "token_bytes": found.streamed, "memory_bytes_s": round(found.bandwidth)}
    places = {"baseline": _row(found, found.baseline), "chosen": _row(found, found.chosen)}
    return every | places | {"candidates": [_row(found, one) for one in found.candidates]}


def _row(found: Tuned, one: Candidate) -> dict[str, Any]:
    """One candidate. `measured` false: speed predicted from a few layers. From `threads` on: the chosen file's."""
    speed, quality, counts = one.speed, one.quality, found.counts
    row: dict[str, Any] = {"recipe": one.recipe, "size": one.size}
    row |= {"prefill_tok_s": round(speed.prefill, 2), "decode_tok_s": round(speed.decode, 2)}
    row |= {"together_tok_s": speed.together and round(speed.together, 2), "measured": one.measured}
    row |= {"kld": quality and round(quality.kld, 5), "kld_error": quality and round(quality.error, 5)}
    row |= {"same_top": quality and round(quality.same_top, 4), "rows": quality.rows if quality else 0}
    row |= {"threads": counts.decode_threads, "prefill_threads": counts.prefill_threads}
    return row | {"slice": counts.slice, "flash": counts.flash}


def _show(found: Tuned) -> None:
    """The table, the plot and the choice, for people."""
    front = {one.recipe for one in pareto([found.baseline, *found.candidates])}
    table = Table("", t("recipe"), t("size"), box=None)
    for name in (t("prefill"), t("decode"), t("4 at once"), "KLD", t("same top")):
        table.add_column(name, justify="right")
    for one in (found.baseline, *found.candidates):
        mark = "►" if one == found.chosen else "·" if one.recipe in front else ""
        name = t(f"{one.recipe} (as it is)") if one == found.baseline else one.recipe
        table.add_row(mark, name, megabytes(one.size), *_figures(one))
    out.print(table)
    out.print(t("► chosen   · no other is faster and nearer to the source   ~ predicted, tokens/s"), style="dim")
    for line in plot.text(found.baseline, found.candidates, found.chosen):
        out.print(line, markup=False)
    counts = found.counts
    threads = t(f"{counts.decode_threads} to write, {counts.prefill_threads} to read, {counts.slice} tokens a step")
    threads += ", flash attention" if counts.flash else ""
    if found.roof is not None:
        took, given = (found.roof * found.bandwidth, found.bandwidth)
        out.say(
            f"Writing takes {took / 1e9:.1f} of the {given / 1e9:.1f} GB/s that the memory gives: {found.roof:.0%}."
        )
    if found.chosen == found.baseline:
        floor = f"{FLOORS[found.quality]:g}"
        out.say(
            f"Nothing that was tried is faster and keeps a divergence of {floor}: the file stays. Threads: {threads}."
        )
        return
    ratio = found.chosen.speed.decode / found.baseline.speed.decode
    read = found.chosen.speed.prefill / found.baseline.speed.prefill
    out.say(
        f"{found.chosen.recipe} writes {ratio:.2f}× and reads {read:.2f}× as fast as the file as it is. "
        f"`edgechat serve` uses it from now on. Threads: {threads}. Took {_span(found.seconds)}."
    )


def _figures(one: Candidate) -> list[str]:
    about = "" if one.measured else "~"
    speed, quality = one.speed, one.quality
    together = "" if speed.together is None else f"{speed.together:.1f}"
    cells = [f"{about}{speed.prefill:.1f}", f"{about}{speed.decode:.1f}", together]
    if quality is None:
        return [*cells, "", ""]
    return [*cells, f"{quality.kld:.4f}", f"{quality.same_top:.1%}"]
