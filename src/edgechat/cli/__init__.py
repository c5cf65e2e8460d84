"""The commands: one file each, a thin skin over the rest of the house."""

import errno
import os
import signal
import sys
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path

import typer
from typer.exceptions import TyperException
from typer.main import get_command

from edgechat import __version__, i18n
from edgechat.cli.help import complain, translate
from edgechat.errors import EdgechatError, StorageError
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


def _open_streams() -> None:
    """Let streams that were closed (`edgechat … >&-`) lead nowhere: the next file would get their number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - for as long as the process lives
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # an answer in Chinese, a terminal in Latin-1


_open_streams()
COMMANDS = (
    "serve", "chat", "models", "keep", "update", "quantize", "history", "status", "doctor", "tune", "bench", "key",
    "autostart", "habits",
)  # fmt: skip
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)  # it does not take what is written
ASKED = tuple(sys.argv[1:2])
if ASKED == ("serve",):
    other = any(word.startswith("--engine") for word in sys.argv)
    spare.prepare("" if other else "llama_cpp")  # it gets ready while this process imports the rest
INTERRUPTIBLE = signal.getsignal(signal.SIGINT) is signal.default_int_handler
if INTERRUPTIBLE:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C amidst imports ends it without a traceback
for command in ASKED if ASKED == ("serve",) else COMMANDS:  # a server starts sooner without all others
    import_module(f"edgechat.cli.{command}").register(app)
if INTERRUPTIBLE:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def main() -> None:
    """Run a command. Whatever goes wrong is one line on standard error, and an exit status."""
    i18n.speak(i18n.of_locale(os.environ))
    command = get_command(app)
    translate(command)
    try:
        sys.exit(command(prog_name="edgechat", standalone_mode=False))
    except TyperException as error:
        complain(error)
        sys.exit(error.exit_code)
    except EdgechatError as error:
        _complain(str(error))
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if os.environ.get("EDGECHAT_LOG_LEVEL") == "debug":
            raise
        sys.exit(_unforeseen(error))


def _unforeseen(error: Exception) -> int:
    """Tell of what nobody looked for. Returns the exit status."""
    if isinstance(error, FileNotFoundError) and str(error.filename).startswith("/proc/"):
        _complain("/proc is not there, and memory and processes are read from it. Mount it: mount -t proc proc /proc")
        return EdgechatError.exit_status
    if not isinstance(error, OSError) or error.errno not in DISK:
        _complain(f"edgechat failed inside ({type(error).__name__}); EDGECHAT_LOG_LEVEL=debug shows where.")
        return EdgechatError.exit_status
    if error.filename is None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python tries once more at its end
    _complain(f"{error.filename or 'standard output'} cannot be written: {error.strerror}.")
    return StorageError.exit_status


def _complain(sentence: str) -> None:
    print(f"edgechat: {i18n.t(sentence)}", file=sys.stderr)  # noqa: T201
