"""What a person at a terminal sees while a model is fetched and loaded."""

import os
import sys

from rich.console import Console
from rich.status import Status
from rich.table import Table

from edgechat.i18n import t
from edgechat.runtime import Runtime
from edgechat.startup import Readiness


class Out(Console):
    """A reader that has gone, of a pipe say, stops nothing: a server goes on without it."""

    def say(self, sentence: str) -> None:
        """Print a sentence in the language of this terminal (i18n)."""
        self.print(t(sentence), markup=False)

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())  # or Python complains at its end


# A pipe or a log file has no width: nothing is broken or cut there.
out = Out(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)
err = Out(stderr=True, highlight=False, soft_wrap=True, width=None if sys.stderr.isatty() else 200)


TOLD = ("downloading", "loading", "ready")  # to a pipe or a log file; why it failed is said as an error
WIDE = 100  # columns of a terminal, from which on tables have all of theirs


NARROW = 60  # below which a table is told row by row


def show_table(table: Table, narrow: int = NARROW) -> None:
    """Print `table` within the width there is: lines are broken, and nothing is cut off."""
    if out.width < narrow:
        heads = [str(column.header) for column in table.columns]
        for row in zip(*(column.cells for column in table.columns), strict=True):
            first, *others = map(str, row)
            told = (f"{head} {cell}" for head, cell in zip(heads[1:], others, strict=True) if cell)
            out.print(first, style="bold", markup=False)
            out.print(f"  {' · '.join(told)}", markup=False, soft_wrap=False)
        return
    for column in table.columns:
        column.overflow = "fold"
    out.print(table, soft_wrap=False)


async def follow(runtime: Runtime, out: Out = out) -> Readiness:
    """Show the state on `out` until the model answers or cannot; returns the last one."""
    shown: Readiness | None = None
    with Status("", console=out) as status:
        while True:
            changed, now = runtime.changed, runtime.readiness
            if now != shown:
                status.update(_line(now))
                if now.wanted and (shown is None or shown.wanted is None):
                    out.say(f"Could not download {now.wanted}: {now.why}")
                    if now.model == runtime.library.catalog.fallback:
                        out.say(f"Serving the small, English-only {now.model} instead. To get it later: {now.hint}")
                    else:
                        out.say(f"Serving {now.model} instead. To get it later: {now.hint}")
                elif not out.is_terminal and now.state in TOLD and (shown is None or now.state != shown.state):
                    out.print(_line(now))
                shown = now
            if now.state in ("ready", "paused", "failed"):
                return now
            await changed.wait()


def _line(now: Readiness) -> str:
    done = "" if now.progress is None else f" {now.progress:.0%}"
    match now.state:
        case "starting":
            return t(f"looking for {now.model}")
        case "downloading":
            return t(f"downloading {now.model}") + done
        case "loading":
            return t(f"loading {now.model}") + done
        case "ready":
            return t(f"ready: {now.model}")
    return f"{t(now.state)} {now.model}"


async def until_up(runtime: Runtime, out: Out = out) -> Readiness:
    """Start `runtime`, show how it goes, and raise what makes it impossible."""
    runtime.start()
    readiness = await follow(runtime, out)
    if runtime.failure is not None:
        raise runtime.failure
    return readiness
