"""`edgechat chat` and `run`: a REPL, or one question and its answer. Conversations are kept like every other.

    edgechat chat                          line by line, until the person ends it
    edgechat chat "Why is the sky blue?"   one answer
    git diff | edgechat chat "Review:"     what comes through a pipe or a file belongs to the question

Where there is one question, standard output holds the answer and nothing else.
"""

import re
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.status import Status

from edgechat.cli import options
from edgechat.cli.follow import Out, err, out
from edgechat.cli.history import NOBODY, full_id
from edgechat.cli.talk import Place, Told, place_of
from edgechat.errors import ConfigError, EdgechatError, NotFound, from_code
from edgechat.history import conversations
from edgechat.history.exchange import latest_branch
from edgechat.history.records import Conversation, Turn
from edgechat.history.store import History
from edgechat.i18n import t
from edgechat.media.sniff import HEAD, PICTURES, sniff
from edgechat.observe import logs
from edgechat.runs import log

HELP = '/new: start over · /image FILE · """ or \\: several lines · Ctrl-C: stop an answer · /exit, Ctrl-D: end'
QUOTES = '"""'
GONE = 128 + signal.SIGPIPE  # the status of a program whose reader has gone
ID = re.compile(r"c-\w*")

Resume = Annotated[bool, typer.Option("--resume", help="Go on with the last conversation, or the named one.")]
Images = Annotated[list[Path] | None, typer.Option("--image", help="A picture to ask about; may be repeated.")]
System = Annotated[str | None, typer.Option("--system", help="System message for the conversation.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(chat)
    app.command()(run)


def chat(
    prompt: Annotated[
        list[str] | None,
        typer.Argument(
            help="One question, answered on standard output; standard input is added to it. "
            "With --resume alone: a conversation, by the first characters of its id.",
            metavar="PROMPT",
            show_default=False,
        ),
    ] = None,
    resume: Resume = False,
    model: options.Model = None,
    system: System = None,
    image: Images = None,
    context: options.Context = None,
    threads: options.Threads = None,
    engine: options.Engine = None,
    home: options.Home = None,
    config: options.Config = None,
) -> None:
    """Chat in the terminal, or get one answer.

    The server of the home folder answers where one runs. Without one, or with a model's path, --context, --threads or
    --engine, the model is loaded for this chat alone. Conversations are kept: `edgechat history`.
    """
    words = " ".join(prompt or ())
    if ID.fullmatch(words) and not resume:
        raise ConfigError(f"{words!r} is no question: to go on with a conversation, add --resume.")
    former = words if resume and ID.fullmatch(words) else None
    flags = {"context": context, "threads": threads, "engine": engine}
    where = {"home": home, "config": config}
    _chat("" if former else words, flags | {"model": model}, resume, former, system, image, where)


def run(
    model: Annotated[str, typer.Argument(help="Model, named as for --model.", show_default=False)],
    prompt: Annotated[
        list[str] | None,
        typer.Argument(help="One question; without it, a chat.", metavar="PROMPT", show_default=False),
    ] = None,
    system: System = None,
    image: Images = None,
    context: options.Context = None,
    home: options.Home = None,
    config: options.Config = None,
) -> None:
    """Chat with a model by name, or get one answer from it."""
    _chat(
        " ".join(prompt or ()),
        {"model": model, "context": context},
        False,
        None,
        system,
        image,
        {"home": home, "config": config},
    )


def _chat(
    words: str,
    flags: dict[str, Any],
    resume: bool,
    start: str | None,
    system: str | None,
    images: list[Path] | None,
    where: dict[str, Any],
) -> None:
    settings = options.load(where["config"], home=where["home"], **flags)
    if settings.log_level == "info":  # what is no trouble has no place between question and answer
        logs.configure("warning", settings.log_format)
    pictures = [_picture(path) for path in images or ()]
    model = flags["model"]
    alone = any(flags.get(name) for name in ("context", "threads", "engine")) or bool(model and _is_path(model))
    history = History(settings.home)
    history.open()
    former = _former(history, start) if resume else None
    question = _question(words)
    with place_of(settings, history, model, alone, out if question is None else err) as place:
        dialogue = Dialogue(place, system, former)
        for picture in pictures:
            dialogue.show(*picture)
        if question is not None:
            dialogue.answer_once(question)
        else:
            out.print(place.model, style="dim", markup=False)
            _explain()
            dialogue.converse()


def _question(words: str) -> str | None:
    """The one question, with what comes through standard input; None where a person sits there and said nothing."""
    try:
        given = "" if sys.stdin.isatty() else sys.stdin.read().strip()
        (words + given).encode()  # what is not UTF-8 comes in surrogates, by some locales
    except UnicodeError:
        raise ConfigError("the question is not text in UTF-8: convert it with iconv; --image takes pictures.") from None
    if sys.stdin.isatty():
        return words or None
    question = "\n\n".join(part for part in (words, given) if part)
    if not question:
        raise ConfigError("nothing was asked: standard input is empty.")
    return question


def _picture(path: Path) -> tuple[bytes, str]:
    """The bytes and the name of a picture. Raises ConfigError."""
    try:
        content = path.expanduser().read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    found = sniff(content[:HEAD])
    if found is None or found.kind != "picture":
        raise ConfigError(f"{path} is no picture of these kinds: {', '.join(PICTURES)}.")
    return content, path.name


def _explain() -> None:
    out.print(t(HELP), style="dim", markup=False, soft_wrap=False)


def _is_path(model: str) -> bool:
    """Whether a server, which knows models by their names, could not find it."""
    return model.endswith(".gguf") or model.startswith((".", "/", "~"))


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

    def __init__(self, place: Place, system: str | None, former: Conversation | None) -> None:
        self._place = place
        self._params: dict[str, Any] = {"system": system} if system else {}
        self._former = former
        self._conversation_id = former.id if former else None
        self._shown: list[str] = []  # the pictures of the next question, by their SHA-256
        for node in latest_branch(former) if former else ():
            if not self._params and node.params and node.params.get("system"):
                self._params = {"system": node.params["system"]}  # it goes on under the same one

    def show(self, content: bytes, name: str) -> None:
        """Let the next question be about that picture, too."""
        self._shown.append(self._place.show(content, name))

    def answer_once(self, question: str) -> None:
        """The answer to standard output. Raises what went wrong; Ctrl-C, or a reader that goes, stops it."""
        started = self._place.begin(self._turn(question))
        told = self._place.tell(started.run_id)
        try:
            _show(told, err)
        except (KeyboardInterrupt, typer.Exit):
            self._place.stop(started.run_id)
            raise
        out.print()

    def converse(self) -> None:
        """Read and answer until the person ends it."""
        with suppress(ImportError):
            import readline  # gives input() line editing and history

            readline.parse_and_bind("set enable-bracketed-paste on")  # several lines that are pasted are one question
        if self._former:
            out.print(self._former.title, style="bold", markup=False)
            for node in latest_branch(self._former):
                names = (f"[{one.name or one.media_type}]" for one in node.attachments)
                said = " ".join(filter(None, (*names, node.content))) or f"[{t(node.status)}]"
                out.print(f"› {said}" if node.role == "user" else said, style="dim", markup=False)
        while True:
            try:
                line = _read()
            except KeyboardInterrupt:
                out.print()
                _explain()
                continue
            except EOFError:
                out.print()
                return
            if line in ("/exit", "/bye", "/quit"):
                return
            if line == "/new":
                self._conversation_id = None
            elif line.startswith("/image "):
                self._show(line.removeprefix("/image ").strip().strip("'\""))
            elif line.startswith("/"):
                _explain()
            elif line:
                self._answer(line)

    def _turn(self, content: str) -> Turn:
        known = self._conversation_id
        turn = Turn(conversation_id=known, after_latest=known is not None, content=content, params=self._params)
        shown, self._shown = self._shown, []
        return msgspec.structs.replace(turn, attachments=tuple(shown)) if shown else turn

    def _show(self, file: str) -> None:
        """As `show`, for a person who types it."""
        try:
            self.show(*_picture(Path(file)))
            out.print(f"[{Path(file).name}]", style="dim", markup=False)
        except EdgechatError as error:
            out.print(f"edgechat: {t(str(error))}", style="red", markup=False)

    def _answer(self, line: str) -> None:
        """Store the line, and show its answer as it comes."""
        try:
            started = self._place.begin(self._turn(line))
            self._conversation_id = started.conversation_id
            told = self._place.tell(started.run_id)
            try:
                _show(told, out)
            except KeyboardInterrupt:
                self._place.stop(started.run_id)
                with suppress(KeyboardInterrupt):
                    _show(told, out)
        except EdgechatError as error:
            out.print(f"edgechat: {t(str(error))}", style="red", markup=False, end="")
        out.print()


def _read() -> str:
    """What a person types: a line, or more where it ends with a backslash or begins with three quotation marks."""
    text = input("› ").strip()
    if text.startswith(QUOTES):
        text = text.removeprefix(QUOTES)
        while not text.endswith(QUOTES):
            text += "\n" + input("… ").rstrip()
        return text.removesuffix(QUOTES).strip()
    while text.endswith("\\"):
        text = text.removesuffix("\\") + "\n" + input("… ").rstrip()
    return text


def _show(told: Told, aside: Out) -> None:
    """Print an answer as it comes; on a terminal, one line that goes away says what happens before its first word.

    What is no answer goes to `aside`. Raises what the run ended with.
    """
    with Status("", console=aside) as status:
        while (event := told.get()) is not None:
            if isinstance(event, BaseException):
                raise event
            if text := _waiting(event):
                status.update(text)
            else:
                status.stop()
                _print(event, aside)
                if out.quiet:  # nobody reads it any more: `edgechat chat … | head -1`
                    raise typer.Exit(GONE)


def _waiting(event: log.Event) -> str:
    match event:
        case log.Queued(position=position):
            return t(f"place {position} in the queue") if position else t("reading")
        case log.Loading(pct=pct):
            return t("loading") if pct is None else t(f"loading {pct:.0f}%")
        case log.Media(done=done, total=total):
            return t(f"looking at the picture {100 * done // total}%")
        case log.Prefill(done=done, total=total):
            return t(f"reading {100 * done // total}%")
        case log.Reasoning():
            return t("thinking")
    return ""


ENDS = {"stopped": "stopped", "length": "longest answer reached", "loop": "it repeated itself"}


def _print(event: log.Event, aside: Out) -> None:
    match event:
        case log.Delta(t=text):
            out.print(text, end="", markup=False, soft_wrap=True)
        case log.Unsaved(message=message):
            aside.print(f"\n[{t(f'not saved: {message}')}]", style="red", markup=False)
        case log.Done(finish_reason=reason) if reason in ENDS:
            aside.print(f" [{t(ENDS[reason])}]", style="dim", markup=False, end="" if aside is out else "\n")
        case log.Error():
            raise from_code(event.code, event.message)
