"""`edgechat chat`: a conversation in the terminal.

The main thread belongs to the person: it waits for a line, or for the answer, and Ctrl-C interrupts just that. The
runtime lives in a loop of its own, behind a portal.
"""

from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Annotated

import typer
from anyio.from_thread import BlockingPortal, start_blocking_portal

from edgechat.cli import options
from edgechat.cli.follow import out, until_up
from edgechat.errors import EdgechatError, from_code
from edgechat.runtime import Runtime
from edgechat.types import Delta, Failed, GenRequest, Message

HELP = "/new: start over · Ctrl-C: stop an answer · Ctrl-D: end"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(chat)


def chat(
    model: options.Model = None,
    system: Annotated[str | None, typer.Option("--system", help="System message for the conversation.")] = None,
    context: options.Context = None,
    threads: options.Threads = None,
    engine: options.Engine = None,
    home: options.Home = None,
    config: options.Config = None,
) -> None:
    """Chat in the terminal. Ctrl-C stops the answer, not the program."""
    settings = options.load(config, model=model, context=context, threads=threads, engine=engine, home=home)
    opening = [Message("system", system)] if system else []
    with start_blocking_portal() as portal:
        runtime = Runtime(settings)
        try:
            portal.call(until_up, runtime)
            served = runtime.find(None)
            out.print(f"{served.name}  {HELP}", style="dim", soft_wrap=True)
            _converse(portal, runtime, opening)
        finally:
            portal.call(runtime.stop)


def _converse(portal: BlockingPortal, runtime: Runtime, opening: list[Message]) -> None:
    """Read and answer until the person ends it."""
    with suppress(ImportError):
        import readline  # noqa: F401 - gives input() line editing and history
    turns = list(opening)
    while True:
        try:
            line = input("› ").strip()
        except KeyboardInterrupt:
            out.print(f"\n{HELP}", style="dim")
            continue
        except EOFError:
            out.print()
            return
        if line == "/exit":
            return
        if line == "/new":
            turns = list(opening)
        elif line.startswith("/"):
            out.print(HELP, style="dim")
        elif line:
            turns.append(Message("user", line))
            _answer(portal, runtime, turns)


def _answer(portal: BlockingPortal, runtime: Runtime, turns: list[Message]) -> None:
    """Stream one answer and keep it; a turn that got none is taken back."""
    said: list[str] = []
    answering: Future[None] = portal.start_task_soon(_stream, runtime, tuple(turns), said)
    try:
        answering.result()
    except KeyboardInterrupt:
        answering.cancel()
        with suppress(CancelledError, KeyboardInterrupt):
            answering.result()
        out.print(" [stopped]", style="dim", markup=False, end="")
    except EdgechatError as error:
        out.print(f"edgechat: {error}", style="red", markup=False, end="")
    out.print()
    if said:
        turns.append(Message("assistant", "".join(said)))
    else:
        turns.pop()


async def _stream(runtime: Runtime, turns: tuple[Message, ...], said: list[str]) -> None:
    request = GenRequest(turns, runtime.find(None).sampling, client="terminal")
    async for event in runtime.stream(request):
        if isinstance(event, Delta):
            said.append(event.text)
            out.print(event.text, end="", markup=False, soft_wrap=True)
        elif isinstance(event, Failed):
            raise from_code(event.code, event.message, event.param)
