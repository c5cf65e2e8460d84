"""`edgechat chat`: a conversation in the terminal, kept like every other.

The main thread belongs to the person: it waits for a line, or for the answer, and Ctrl-C interrupts just that. The
runtime and the runs live in a loop of their own, behind a portal.
"""

from concurrent.futures import Future
from contextlib import suppress
from typing import Annotated, Any

import typer
from anyio.from_thread import BlockingPortal, start_blocking_portal
from rich.status import Status

from edgechat.cli import options
from edgechat.cli.follow import out, until_up
from edgechat.cli.history import NOBODY, full_id
from edgechat.errors import ConfigError, EdgechatError, NotFound, from_code
from edgechat.history import conversations
from edgechat.history.exchange import latest_branch
from edgechat.history.records import Conversation, Turn
from edgechat.history.store import History
from edgechat.observe import logs
from edgechat.runs import log
from edgechat.runs.keeper import Runs
from edgechat.runtime import Runtime
from edgechat.types import Caller

PERSON = Caller("terminal", NOBODY, operator=True)  # the one at the keyboard
HELP = "/new: start over · Ctrl-C: stop an answer · Ctrl-D: end"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(chat)


def chat(
    conversation: Annotated[
        str | None,
        typer.Argument(
            help="With --resume: which conversation, by the first characters of its id.", show_default=False
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the last conversation, or the named one.")
    ] = False,
    model: options.Model = None,
    system: Annotated[str | None, typer.Option("--system", help="System message for the conversation.")] = None,
    context: options.Context = None,
    threads: options.Threads = None,
    engine: options.Engine = None,
    home: options.Home = None,
    config: options.Config = None,
) -> None:
    """Chat in the terminal. Ctrl-C stops the answer, not the program. Conversations are kept: `edgechat history`."""
    if conversation and not resume:
        raise ConfigError(f"unexpected argument {conversation!r}: to go on with a conversation, add --resume.")
    settings = options.load(config, model=model, context=context, threads=threads, engine=engine, home=home)
    if settings.log_level == "info":  # what is no trouble has no place between question and answer
        logs.configure("warning", settings.log_format)
    history = History(settings.home)
    history.open()
    with start_blocking_portal() as portal:
        runtime = Runtime(settings)
        runs = Runs(runtime, history)
        try:
            former = _former(history, conversation) if resume else None
            portal.call(runs.start)
            portal.call(until_up, runtime)
            out.print(f"{runtime.find(None, PERSON).served.name}  {HELP}", style="dim", soft_wrap=True)
            Dialogue(portal, runs, system, former).converse()
        finally:
            portal.call(runs.close)
            portal.call(runtime.stop)


def _former(history: History, start: str | None) -> Conversation:
    """The conversation to go on with: the one that was written to last, unless one is named."""
    if start is None:
        heads = history.read(conversations.page, NOBODY).result().conversations
        if not heads:
            raise NotFound("there is no conversation to go on with yet: start one with `edgechat chat`.")
        id = max(heads, key=lambda head: head.updated).id
    else:
        id = full_id(history, start)
    return history.read(conversations.get, NOBODY, id).result()


class Dialogue:
    """What is said between a person and the model, line by line."""

    def __init__(self, portal: BlockingPortal, runs: Runs, system: str | None, former: Conversation | None) -> None:
        self._portal = portal
        self._runs = runs
        self._params: dict[str, Any] = {"system": system} if system else {}
        self._conversation_id: str | None = None
        if former is not None:
            self._take_up(former)

    def _take_up(self, former: Conversation) -> None:
        """Show what was said, and go on under the same system message."""
        self._conversation_id = former.id
        out.print(former.title, style="bold", markup=False)
        for node in latest_branch(former):
            said = node.content or f"[{node.status}]"
            out.print(f"› {said}" if node.role == "user" else said, style="dim", markup=False)
            if not self._params and node.params and node.params.get("system"):
                self._params = {"system": node.params["system"]}

    def converse(self) -> None:
        """Read and answer until the person ends it."""
        with suppress(ImportError):
            import readline  # noqa: F401 - gives input() line editing and history
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
                self._conversation_id = None
            elif line.startswith("/"):
                out.print(HELP, style="dim")
            elif line:
                self._answer(line)

    def _answer(self, line: str) -> None:
        """Store the line, and show its answer as it comes."""
        known = self._conversation_id
        turn = Turn(conversation_id=known, after_latest=known is not None, content=line, params=self._params)
        try:
            started = self._portal.call(self._runs.begin, PERSON, turn)
            self._conversation_id = started.conversation_id
            self._follow(started.run_id)
        except EdgechatError as error:
            out.print(f"edgechat: {error}", style="red", markup=False, end="")
        out.print()

    def _follow(self, run_id: str) -> None:
        showing: Future[None] = self._portal.start_task_soon(_show, self._runs, run_id)
        try:
            showing.result()
        except KeyboardInterrupt:
            self._portal.call(self._runs.stop, NOBODY, run_id)
            with suppress(KeyboardInterrupt):
                showing.result()


async def _show(runs: Runs, run_id: str) -> None:
    """Print an answer as it comes; on a terminal, one line that goes away says what happens before its first word."""
    with Status("", console=out) as status:
        async for _, event in await runs.events(NOBODY, run_id):
            if text := _waiting(event):
                status.update(text)
            else:
                status.stop()
                _print(event)


def _waiting(event: log.Event) -> str:
    match event:
        case log.Queued(position=position):
            return f"place {position} in the queue" if position else "reading"
        case log.Loading(pct=pct):
            return "loading" if pct is None else f"loading {pct:.0f}%"
        case log.Prefill(done=done, total=total):
            return f"reading {100 * done // total}%"
        case log.Reasoning():
            return "thinking"
    return ""


def _print(event: log.Event) -> None:
    match event:
        case log.Delta(t=text):
            out.print(text, end="", markup=False, soft_wrap=True)
        case log.Unsaved(message=message):
            out.print(f"\n[not saved: {message}]", style="red", markup=False)
        case log.Done(finish_reason="stopped"):
            out.print(" [stopped]", style="dim", markup=False, end="")
        case log.Error():
            raise from_code(event.code, event.message)
