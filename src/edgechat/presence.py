"""Local discovery: a running server leaves its card in the home folder, for other commands on this machine.

home/server.json, 0600: whoever can read it owns the home folder, so the secret in it opens the server's every door.
"""

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from edgechat.errors import ServiceError
from edgechat.process import atomic
from edgechat.types import Struct

if TYPE_CHECKING:
    import httpx

ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a server listens -> where it is asked
PATIENCE_S = 10.0


class Card(Struct, frozen=True):
    """Where a server is. `secret` is good as long as the server runs."""

    pid: int
    url: str
    secret: str


def leave(home: Path, url: str) -> Card:
    """Leave a new card."""
    card = Card(os.getpid(), url, secrets.token_urlsafe(32))
    atomic.replace(_path(home), msgspec.json.encode(card), mode=0o600, durable=False)  # good while this process runs
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


def client(card: Card) -> "httpx.Client":
    """A client of the server, as its operator.

    Nobody's proxy is asked, and no certificate: whoever listens at that address could be told apart by the card only.
    """
    import httpx  # imported where it is needed: most commands ask nobody

    where = urlsplit(card.url)
    host = ANYWHERE.get(where.hostname or "", where.hostname or "")
    place = f"[{host}]:{where.port}" if ":" in host else f"{host}:{where.port}"
    headers = {"X-Edgechat-Card": card.secret, "Host": f"localhost:{where.port}"}
    base = f"{where.scheme}://{place}"
    return httpx.Client(base_url=base, headers=headers, verify=False, trust_env=False, timeout=PATIENCE_S)  # noqa: S501 - see above


def ask(card: Card, path: str) -> bytes:
    """What the server answers to GET `path`. Raises ServiceError."""
    import httpx

    try:
        with client(card) as server:
            answer = server.get(path)
            answer.raise_for_status()
    except httpx.HTTPError as error:
        why = "it does not answer" if isinstance(error, httpx.TransportError) else str(error).partition("\n")[0]
        raise ServiceError(f"process {card.pid} should serve at {card.url}, but {why}. Its log may say why.") from None
    return answer.content


def _path(home: Path) -> Path:
    return home / "server.json"
