"""A running server leaves its card in the home folder, for other commands on this machine to find it by.

home/server.json, 0600: whoever can read it owns the home folder, so the secret in it opens the server's every door.
"""

import os
import secrets
from pathlib import Path

import msgspec

from edgechat.types import Struct


class Card(Struct, frozen=True):
    """Where a server is. `secret` is good as long as the server runs."""

    pid: int
    url: str
    secret: str


def leave(home: Path, url: str) -> Card:
    """Leave a new card."""
    card = Card(os.getpid(), url, secrets.token_urlsafe(32))
    part = _path(home).with_suffix(".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as sink:
        sink.write(msgspec.json.encode(card))
    part.replace(_path(home))
    return card


def take_back(home: Path) -> None:
    """Remove the card of this process."""
    card = find(home)
    if card is not None and card.pid == os.getpid():
        _path(home).unlink(missing_ok=True)


def find(home: Path) -> Card | None:
    """The card of the server that runs from `home`; one that a dead server left is none."""
    try:
        card = msgspec.json.decode(_path(home).read_bytes(), type=Card)
        os.kill(card.pid, 0)
    except PermissionError:  # it runs, under another user
        return None
    except (OSError, msgspec.DecodeError):
        return None
    return card


def _path(home: Path) -> Path:
    return home / "server.json"
