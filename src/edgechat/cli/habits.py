"""Aliases: what fingers know from other programs. The help has only the real names; and `edgechat stop`."""

import os
import signal
import time
from collections.abc import Callable
from typing import Annotated

import psutil
import typer

from edgechat import presence
from edgechat.cli import options
from edgechat.cli.follow import out
from edgechat.cli.keep import remove
from edgechat.cli.models import models
from edgechat.cli.status import status
from edgechat.errors import ServiceError, from_code

SAME: dict[str, Callable[..., None]] = {"list": models, "ls": models, "rm": remove, "ps": status}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for name, command in SAME.items():
        app.command(name, hidden=True)(command)
    app.command("help", hidden=True)(show_help)
    app.command()(stop)


def show_help(
    context: typer.Context,
    command: Annotated[list[str] | None, typer.Argument(help="A command; without it, all.")] = None,
) -> None:
    """Show help."""
    assert context.parent is not None
    context.parent.command.main([*(command or ()), "--help"], prog_name="edgechat", standalone_mode=False)


def stop(
    model: Annotated[
        str | None, typer.Argument(help="A model to unload; without it, the server stops.", show_default=False)
    ] = None,
    home: options.Home = None,
    config: options.Config = None,
) -> None:
    """Stop the running server, or unload a model from it.

    Answers in progress may finish first; a second Ctrl-C where it was started ends it at once.
    """
    settings = options.load(config, home=home)
    card = presence.find(settings.home)
    if card is None:
        raise ServiceError(f"no server runs from {settings.home}.")
    if model:
        _unload(card, model)
        out.say(f"{model} is unloaded once its answers are over.")
        return
    os.kill(card.pid, signal.SIGTERM)
    out.say(f"Stopping the server at {card.url}: answers in progress may finish first.")
    while psutil.pid_exists(card.pid) and presence.find(settings.home) == card:
        time.sleep(0.05)
    out.say("Stopped.")


def _unload(card: presence.Card, model: str) -> None:
    with presence.client(card) as client:
        answer = client.post(f"/api/models/{model}/unload", json={})
    if answer.is_error:
        problem = answer.json()["error"]
        raise from_code(problem["code"] or "", problem["message"], problem["param"])
