"""`edgechat key`: who may come in."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from edgechat.cli import options
from edgechat.cli.follow import out, show_table
from edgechat.i18n import t
from edgechat.keys import Key, Keys, keys_of
from edgechat.types import Limits

Count = Annotated[int | None, typer.Option(min=0, help="0: no limit; without this, the server's setting.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="API keys: add, list, revoke.", no_args_is_help=True)
    group.command("add")(add)
    group.command("list")(list_)
    group.command("revoke")(revoke)
    app.add_typer(group, name="key")


def _keys(home: Path | None, config: Path | None) -> Keys:
    return keys_of(options.load(config, home=home))


def add(
    name: Annotated[str, typer.Argument(help="Who or what will use it.")],
    operator: Annotated[bool, typer.Option("--operator", help="Let it manage the server: metrics, models.")] = False,
    model: Annotated[list[str] | None, typer.Option("--model", help="A model it may use; without this, all.")] = None,
    requests_per_minute: Count = None,
    requests_per_day: Count = None,
    tokens_per_minute: Count = None,
    tokens_per_day: Count = None,
    streams: Count = None,
    max_tokens: Count = None,
    home: options.Home = None,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Create a key. It is shown once: only its hash is kept.

    A running server knows it at once. From the first key on, every request but the health checks needs one.
    """
    limits = Limits(requests_per_minute, requests_per_day, tokens_per_minute, tokens_per_day, streams, max_tokens)
    keys = _keys(home, config)
    first = not keys.wanted
    key, secret = keys.add(name, operator, tuple(model or ()), limits)
    if as_json:
        typer.echo(json.dumps({"key": secret, **_public(key)}, ensure_ascii=False))
        return
    typer.echo(secret)
    typer.echo(t("This is shown once. Clients send it as `Authorization: Bearer KEY`; the page asks for it."), err=True)
    if first:
        typer.echo(
            t(f"Conversations kept so far are no key's: `edgechat history give {name}` hands them over."), err=True
        )


def list_(home: options.Home = None, config: options.Config = None, as_json: options.Json = False) -> None:
    """Show the keys, without their secrets."""
    keys = _keys(home, config).all()
    if as_json:
        typer.echo(json.dumps([_public(key) for key in keys], ensure_ascii=False))
        return
    if not keys:
        out.say("There are no keys: only this machine has access. To make one: edgechat key add NAME")
        return
    heads = (t("name"), "id", t("created"), t("operator"), t("models"), t("limits"), t("revoked"))
    table = Table(*heads, box=None, pad_edge=False)
    for key in keys:
        models = ", ".join(key.models) or t("all")
        table.add_row(
            key.name,
            key.id,
            _when(key.created),
            t("yes") if key.operator else "",
            models,
            _words(key),
            _when(key.revoked),
        )
    show_table(table)


def revoke(
    name: Annotated[str, typer.Argument(help="The key's name or id.")],
    home: options.Home = None,
    config: options.Config = None,
) -> None:
    """Revoke a key and end its sessions. A running server knows it at once."""
    keys = _keys(home, config)
    key = keys.revoke(name)
    out.say(f"{key.name} is revoked.")
    if not keys.live():
        out.say("It was the last one: nobody has access now, not even this machine's page. Next: edgechat key add NAME")


def _public(key: Key) -> dict[str, object]:
    """All there is to know about a key but its hash."""
    about: dict[str, object] = msgspec.to_builtins(key)
    del about["sha256"]
    return about


def _when(iso: str | None) -> str:
    """A moment by the clock on the wall, as `history list` has it."""
    return datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M") if iso else ""


def _words(key: Key) -> str:
    limits = msgspec.structs.asdict(key.limits)
    return ", ".join(f"{name} {value}" for name, value in limits.items() if value is not None) or t("the server's")
