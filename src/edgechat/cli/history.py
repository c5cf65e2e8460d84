"""`edgechat history`: look at, search, export, import and back up the conversations, also while a server runs."""

import re
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import typer
from rich.table import Column, Table

from edgechat.cli import options
from edgechat.cli.follow import out, show_table
from edgechat.errors import ConfigError, NotFound
from edgechat.history import conversations, exchange, intake, rescue
from edgechat.history.beside import asset_of
from edgechat.history.records import Head
from edgechat.history.store import History, export_copy
from edgechat.i18n import t
from edgechat.keys import keys_of
from edgechat.media import inline

CONVERSATIONS = re.compile(r"(^|/)conversations[^/]*\.json$")  # in the archives of ChatGPT and Claude
ASSET = re.compile(r"file[-_][0-9A-Za-z]+")  # ChatGPT's id of a file, with which its name begins
MOST_UNPACKED = 2 << 30  # bytes
DASH = Path("-")  # standard input or output
NOBODY = ""  # the terminal's own conversations, and those from before the first key, belong to no key

app = typer.Typer(help="Conversations: list, show, search, export, import, back up.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="A conversation's id, or its first characters.", show_default=False)]
MaybeId = Annotated[str | None, typer.Argument(help="A conversation's id, or its first characters; without it, all.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Show at most this many.")]
Of = Annotated[
    str | None, typer.Option("--of", help="The key whose conversations are meant; without it, the terminal's own.")
]


class Opened(NamedTuple):
    """A home folder's conversations, whose are looked at, and how many bytes of attachments are kept in all."""

    history: History
    owner: str
    most: int


def register(root: typer.Typer) -> None:
    """Add the commands."""
    root.add_typer(app, name="history")


@contextmanager
def opened(home: Path | None, config: Path | None, of: str | None = None) -> Iterator[Opened]:
    """The home folder's conversations, those of one key or the terminal's own. Raises UnknownName."""
    settings = options.load(config, home=home)
    owner = keys_of(settings).get(of).id if of is not None else NOBODY
    history = History(settings.home)
    history.open()
    try:
        yield Opened(history, owner, settings.attachment_bytes)
    finally:
        history.close()


@app.command("list")
def show_list(
    limit: Limit = 20,
    of: Of = None,
    as_json: options.Json = False,
    home: options.Home = None,
    config: options.Config = None,
) -> None:
    """List conversations, pinned ones first, then by last change."""
    with opened(home, config, of) as (history, owner, _):
        heads = history.read(conversations.page, owner, limit=limit).result().conversations
    _print(heads, as_json)


@app.command()
def search(
    words: Annotated[
        list[str], typer.Argument(help="Words that must all occur in one message or title.", show_default=False)
    ],
    limit: Limit = 20,
    of: Of = None,
    as_json: options.Json = False,
    home: options.Home = None,
    config: options.Config = None,
) -> None:
    """Find conversations by words. Two characters of Chinese are enough."""
    with opened(home, config, of) as (history, owner, _):
        heads = history.read(conversations.page, owner, query=" ".join(words), limit=limit).result().conversations
    _print(heads, as_json)


@app.command()
def show(
    conversation: Id,
    of: Of = None,
    as_json: options.Json = False,
    home: options.Home = None,
    config: options.Config = None,
) -> None:
    """Print a conversation. The branch that was written to last, or with --json the whole tree."""
    with opened(home, config, of) as (history, owner, _):
        id = full_id(history, conversation, owner)
        if as_json:
            typer.echo(msgspec.json.encode(history.read(conversations.get, owner, id).result()).decode())
        else:
            typer.echo(history.read(exchange.as_markdown, owner, id).result().decode(), nl=False)


@app.command()
def export(
    conversation: MaybeId = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; otherwise standard output.")
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Markdown to read, instead of JSON to import again.")
    ] = False,
    of: Of = None,
    home: options.Home = None,
    config: options.Config = None,
) -> None:
    """Export one conversation, or all."""
    with opened(home, config, of) as (history, owner, _):
        id = full_id(history, conversation, owner) if conversation else None
        if markdown:
            data = iter([history.read(exchange.as_markdown, owner, id).result()])
        else:
            data = exchange.as_json(history, owner, id)
        if output is None or output == DASH:
            sys.stdout.buffer.writelines(data)
            return
        with options.writing(output), output.open("wb") as file:
            file.writelines(data)
    out.say(f"Wrote {output}.")


@app.command("import")
def take(
    exports: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="What edgechat, ChatGPT, Claude, Open WebUI, LibreChat or llama.cpp exported, or OpenAI-style "
            "messages: JSON, or a zip with conversations.json in it.",
            show_default=False,
        ),
    ],
    of: Of = None,
    home: options.Home = None,
    config: options.Config = None,
) -> None:
    """Import conversations from edgechat or other programs. What cannot be read is named; the rest comes in."""
    with ExitStack() as archives, opened(home, config, of) as (history, owner, most):
        documents = [one for file in exports for one in _documents(file, archives)]
        for name, document, beside in documents:
            taken = intake.take_in(history, owner, document, most, beside)
            if len(documents) > 1:
                out.print(f"{name}:", markup=False)
            out.say(f"Imported {taken.imported}; {taken.skipped} were there already.")
            for one in taken.left_out:
                out.say(f"Not imported: {one.title or one.place} {intake.WHY[one.why]}.")
            if taken.without:
                lost = ", ".join(t(f"{count} {kind}") for kind, count in sorted(taken.without.items()))
                out.say(f"Left out of messages: {lost}.")


class Document(NamedTuple):
    """A decoded file, and what lies beside it."""

    name: str
    content: Any
    beside: intake.Files = intake.no_files


class Archive:
    """An archive's files by what a document calls them: their names, or ChatGPT's ids, with which these begin."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._found: dict[str, zipfile.ZipInfo] = {}
        for one in archive.infolist():
            name = one.filename.rpartition("/")[2]
            self._found[name] = one
            if begins := ASSET.match(name):
                self._found[begins[0]] = one

    def read(self, where: str) -> bytes | None:
        """`Files` of intake.py; what is damaged is not there."""
        found = self._found.get(asset_of(where) or where.rpartition("/")[2])
        with suppress(zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError):
            return self._archive.read(found) if found and found.file_size <= inline.MOST else None
        return None


def _documents(file: Path, archives: ExitStack) -> Iterator[Document]:
    """Every document in `file`, which may be an archive of some: then it stays open with `archives`."""
    try:
        source = BytesIO(sys.stdin.buffer.read()) if file == DASH else file.open("rb")
        archives.enter_context(source)
        if zipfile.is_zipfile(source):
            archive = archives.enter_context(zipfile.ZipFile(source))
            found = [one for one in archive.infolist() if CONVERSATIONS.search(one.filename)]
            if sum(one.file_size for one in found) > MOST_UNPACKED:
                raise ConfigError(f"{file} unpacks to more than {MOST_UNPACKED >> 30} GiB.")
            if not found:
                raise ConfigError(f"{file} holds no conversations.json.")
            beside = Archive(archive).read
            yield from (Document(one.filename, msgspec.json.decode(archive.read(one)), beside) for one in found)
        else:
            source.seek(0)
            yield Document(file.name, msgspec.json.decode(source.read()))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}.") from None
    except zipfile.BadZipFile as error:
        raise ConfigError(f"{file} is damaged: {error}.") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file} is not JSON: {error}.") from None


@app.command()
def give(
    to: Annotated[str, typer.Argument(metavar="KEY", help="Name of the key that will own them.")],
    of: Of = None,
    home: options.Home = None,
    config: options.Config = None,
) -> None:
    """Hand all conversations over to a key. The terminal's own with those from before the first key, or a key's."""
    new_owner = keys_of(options.load(config, home=home)).get(to)
    with opened(home, config, of) as (history, owner, _):
        count = history.write(conversations.hand_over, owner, new_owner.id).result()
    out.say(f"Now {new_owner.name}'s: {_count(count, 'conversation')}.")


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="File to write.", show_default=False)],
    home: options.Home = None,
    config: options.Config = None,
) -> None:
    """Back up all conversations into one file. Whole and consistent, also while a server runs."""
    if file.exists():
        raise ConfigError(f"{file} exists: take another name.")
    with opened(home, config) as (history, *_), options.writing(file):
        history.read(export_copy, file, history.attachments).result()
    out.say(f"Wrote {file}. To restore it: edgechat history recover --from {file}")


@app.command()
def recover(
    source: Annotated[
        Path | None,
        typer.Option("--from", help="A backup to bring back, instead of what the damaged file still holds."),
    ] = None,
    home: options.Home = None,
    config: options.Config = None,
) -> None:
    """Recover from a damaged file, or from a backup. Saves what can be read; the old file is kept beside it."""
    saved = rescue.recover(History(options.load(config, home=home).home), source)
    if saved.kept is not None:
        out.say(f"The old file is kept as {saved.kept}")
    out.say(f"Saved: {_count(saved.conversations, 'conversation')}, {_count(saved.messages, 'message')}.")


def full_id(history: History, start: str, owner: str = NOBODY) -> str:
    """The one conversation of `owner` whose id begins like that. Raises NotFound."""
    found = history.read(conversations.ids_like, owner, start).result()
    if len(found) != 1:
        what = "several conversations begin" if found else "no conversation begins"
        raise NotFound(f"{what} with {start!r}: `edgechat history list` shows the ids.")
    return found[0]


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _print(heads: tuple[Head, ...], as_json: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.encode(heads).decode())
        return
    if not heads:
        out.say("No conversations.")
        return
    table = Table(Column("id", no_wrap=True), Column(t("changed"), no_wrap=True), t("title"), box=None)
    for head in heads:
        changed = datetime.fromtimestamp(head.updated / 1000).strftime("%Y-%m-%d %H:%M")
        line = head.title if head.snippet is None else f"{head.title}: {''.join(piece.t for piece in head.snippet)}"
        table.add_row(head.id, changed, " ".join(line.split()))
    show_table(table)
