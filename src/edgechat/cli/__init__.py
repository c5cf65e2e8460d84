"""The commands: one file each, a thin skin over the rest of the house."""

import os
import sys
from importlib import import_module

import typer
from typer.exceptions import TyperException
from typer.main import get_command

from edgechat import __version__, i18n
from edgechat.cli.help import complain, translate
from edgechat.errors import EdgechatError
from edgechat.models import spare

app = typer.Typer(
    name="edgechat",
    help="Private chat on machines without a GPU: a page, an OpenAI-compatible API and a terminal chat.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"edgechat {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", "-V", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """What every command has."""


COMMANDS = (
    "serve", "chat", "models", "keep", "update", "quantize", "history", "status", "doctor", "tune", "bench", "key",
    "autostart", "habits",
)  # fmt: skip
ASKED = tuple(sys.argv[1:2])
if ASKED == ("serve",):
    other = any(word.startswith("--engine") for word in sys.argv)
    spare.prepare("" if other else "llama_cpp")  # it gets ready while this process imports the rest
for command in ASKED if ASKED == ("serve",) else COMMANDS:  # a server starts sooner without all others
    import_module(f"edgechat.cli.{command}").register(app)


def main() -> None:
    """Run a command. An error meant for a reader is one line on standard error, and its exit status."""
    i18n.speak(i18n.of_locale(os.environ))
    command = get_command(app)
    if i18n.of_locale(os.environ) != i18n.ENGLISH:
        translate(command)
    try:
        sys.exit(command(prog_name="edgechat", standalone_mode=False))
    except TyperException as error:
        complain(error)
        sys.exit(error.exit_code)
    except EdgechatError as error:
        print(f"edgechat: {i18n.t(str(error))}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.exit(130)
