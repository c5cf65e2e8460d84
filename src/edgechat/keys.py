"""API keys: who may come in, and the page's sessions that stand for a key.

Both files lie in the home folder, are 0600, and hold SHA-256 hashes only: a key is shown once, when it is made. A key
carries 256 random bits, so a plain hash cannot be turned round and a guess cannot hit.

    keys.json       every key ever made, the revoked ones too: once there was a key, a server asks for one
    sessions.json   who logged in through the page, until when
"""

import hashlib
import hmac
import secrets
import time
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
from filelock import FileLock

from edgechat.errors import ConfigError, StorageError, UnknownName
from edgechat.process import atomic
from edgechat.process.cached import Cached
from edgechat.settings import Settings
from edgechat.types import Limits, Struct

PREFIX = "ec-"
SESSION_S = 30 * 86_400  # seconds that a login lasts
MAX_SESSIONS = 1_000  # beyond it the oldest ends
HOW_TO_ADD = "Make one with `edgechat key add NAME`, or listen on 127.0.0.1"


class Key(Struct, frozen=True):
    """One key. `id` is public: it names the key's realm and its rows in the history."""

    id: str
    name: str
    sha256: str
    created: str  # ISO 8601, UTC
    operator: bool = False  # may also look after the server: metrics, models
    models: tuple[str, ...] = ()  # that it may use; none means all
    limits: Limits = Limits()
    revoked: str | None = None


class Session(Struct, frozen=True):
    """One login. `ends` is Unix time."""

    key: str
    ends: float


T = TypeVar("T")


class _File(Generic[T]):
    """A small JSON file that several processes read and few write. Read again when it has changed."""

    def __init__(self, path: Path, kind: object, empty: T) -> None:
        self.path = path
        self._empty = empty
        self._cached: Cached[T] = Cached(lambda content: msgspec.json.decode(content, type=kind))

    def read(self) -> T:
        """The content now. Raises ConfigError where the file is not what this class wrote."""
        try:
            return self._cached.read(self.path)
        except FileNotFoundError:
            return self._empty
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigError(f"{self.path} cannot be used: {error}. Nobody comes in until it is mended.") from error

    def write(self, value: T) -> None:
        """Replace the content, whole or not at all. Call it under `lock`."""
        try:
            atomic.replace(self.path, msgspec.json.format(msgspec.json.encode(value)), mode=0o600)
        except OSError as error:
            raise StorageError(f"{self.path} cannot be written: {error.strerror}.") from error

    def lock(self) -> FileLock:
        """Held around a read and the write that follows from it."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self.path.parent} cannot be made: {error.strerror}.") from error
        return FileLock(self.path.with_suffix(".lock"), mode=0o600)


class Keys:
    """The keys of one home folder. Changes that another process makes are seen at the next question."""

    def __init__(self, path: Path) -> None:
        self._file: _File[tuple[Key, ...]] = _File(path, tuple[Key, ...], ())

    @property
    def path(self) -> Path:
        """Where they are kept."""
        return self._file.path

    def all(self) -> tuple[Key, ...]:
        """Every key, revoked ones included, oldest first."""
        return self._file.read()

    def live(self) -> tuple[Key, ...]:
        """The keys that open the door."""
        return tuple(key for key in self.all() if key.revoked is None)

    @property
    def wanted(self) -> bool:
        """Whether a key is asked for: from the first one on, whatever became of it."""
        return bool(self.all())

    def add(self, name: str, operator: bool, models: tuple[str, ...], limits: Limits) -> tuple[Key, str]:
        """A new key and its secret, which is kept nowhere. Raises ConfigError if the name is taken."""
        if not name.isprintable() or not 0 < len(name) <= 64:
            raise ConfigError("a key's name is 1 to 64 printable characters.")
        secret = PREFIX + secrets.token_urlsafe(32)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        key = Key(secrets.token_hex(6), name, digest(secret), now, operator, models, limits)
        with self._file.lock():
            if any(other.name == name for other in self.live()):
                raise ConfigError(f"there is a key called {name!r}: revoke it, or take another name.")
            self._file.write((*self.all(), key))
        return key, secret

    def revoke(self, name: str) -> Key:
        """Close the door to the key called `name`, or with that id. Raises UnknownName."""
        with self._file.lock():
            found = _named(name, self.live())
            now = datetime.now(UTC).isoformat(timespec="seconds")
            gone = msgspec.structs.replace(found, revoked=now)
            self._file.write(tuple(gone if key.id == found.id else key for key in self.all()))
        return gone

    def get(self, name: str) -> Key:
        """The key called `name`, or with that id: a live one, else the last that was revoked. Raises UnknownName."""
        return _named(name, (*self.live(), *reversed(self.all())))

    def find(self, secret: str) -> Key | None:
        """The live key that `secret` is. Takes as long for a near miss as for a far one."""
        wanted, found = digest(secret), None
        for key in self.live():
            if hmac.compare_digest(key.sha256, wanted):
                found = key
        return found

    def by_id(self, id: str) -> Key | None:
        """The live key with that id."""
        return next((key for key in self.live() if key.id == id), None)


class Sessions:
    """Who is logged in through the page. Logins survive a restart of the server."""

    def __init__(self, path: Path) -> None:
        self._file: _File[dict[str, Session]] = _File(path, dict[str, Session], {})

    def open(self, key: Key) -> str:
        """Log `key` in; returns what the cookie holds."""
        token, now = secrets.token_urlsafe(32), time.time()
        with self._file.lock():
            kept = {name: one for name, one in self._file.read().items() if one.ends > now}
            newest = sorted(kept.items(), key=lambda item: item[1].ends)[-MAX_SESSIONS + 1 :]
            self._file.write(dict(newest) | {digest(token): Session(key.id, now + SESSION_S)})
        return token

    def find(self, token: str) -> str | None:
        """The id of the key that logged in as `token`; whether the key still lives is the caller's question."""
        session = self._file.read().get(digest(token))
        return session.key if session and session.ends > time.time() else None

    def close(self, token: str) -> None:
        """Log out."""
        with self._file.lock():
            self._file.write({name: one for name, one in self._file.read().items() if name != digest(token)})


def _named(name: str, keys: tuple[Key, ...]) -> Key:
    found = next((key for key in keys if name in (key.name, key.id)), None)
    if found is None:
        raise UnknownName("key", name, sorted({key.name for key in keys}))
    return found


def digest(secret: str) -> str:
    """The form in which a secret is kept."""
    return hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()


def keys_of(settings: Settings) -> Keys:
    """The keys that a server with these settings asks for."""
    return Keys(settings.keys or settings.home / "keys.json")


def check_exposure(settings: Settings) -> None:
    """Raise ConfigError if others could come in without a key."""
    if is_exposed(settings) and not keys_of(settings).live():
        what = "host" if not is_loopback(settings.host) else "hosts" if settings.hosts else "trusted_proxies"
        raise ConfigError(
            f"the setting {what} lets other machines in: they need a key, and there is none. {HOW_TO_ADD}."
        )


def is_exposed(settings: Settings) -> bool:
    """Whether other machines are meant to reach the server."""
    return not is_loopback(settings.host) or bool(settings.hosts or settings.trusted_proxies)


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach `address`; a name other than localhost might lead anywhere."""
    with suppress(ValueError):
        ip = ip_address(address)
        mapped = getattr(ip, "ipv4_mapped", None)
        return (mapped or ip).is_loopback
    return address == "localhost"
