"""Keys and sessions on disk: made once, kept as hashes, closed for good."""

import json
import stat
from pathlib import Path

import pytest

from edgechat.errors import ConfigError, UnknownName
from edgechat.keys import SESSION_S, Keys, Sessions, check_exposure, is_loopback
from edgechat.settings import Settings
from edgechat.types import Limits


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "home" / "keys.json")


def add(keys: Keys, name: str = "ann") -> str:
    return keys.add(name, False, (), Limits())[1]


def test_only_the_hash_is_kept_and_only_its_owner_reads_it(keys: Keys) -> None:
    secret = add(keys)
    assert secret.startswith("ec-")
    assert secret[3:] not in keys.path.read_text()
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600


def test_a_key_opens_until_it_is_revoked(keys: Keys) -> None:
    ann, bob = add(keys), add(keys, "bob")
    found = keys.find(ann)
    assert found is not None
    assert found.name == "ann"
    keys.revoke("ann")
    assert keys.find(ann) is None
    assert keys.by_id(found.id) is None
    assert keys.find(bob) is not None
    assert add(keys) != ann


@pytest.mark.parametrize("guess", ["", "ec-", "secret", "dev", "changeme", "clé", "' OR 1=1--", "\0", "x" * 1_000_000])
def test_a_guess_opens_nothing(keys: Keys, guess: str) -> None:
    secret = add(keys)
    for wrong in (guess, secret + guess if guess else secret[:-1], secret.upper()):
        assert keys.find(wrong) is None


def test_after_the_last_key_is_revoked_a_key_is_still_wanted(keys: Keys) -> None:
    seen = [keys.wanted]
    add(keys)
    keys.revoke("ann")
    seen.append(keys.wanted)
    assert seen == [False, True]
    assert not keys.live()


def test_another_process_is_believed_at_once(keys: Keys) -> None:
    other = Keys(keys.path)
    assert other.live() == ()
    secret = add(keys)
    assert other.find(secret) is not None
    keys.revoke("ann")
    assert other.find(secret) is None


def test_names_are_one_each_and_near_misses_are_helped(keys: Keys) -> None:
    add(keys)
    with pytest.raises(ConfigError, match="there is a key called 'ann'"):
        add(keys)
    with pytest.raises(UnknownName, match="did you mean 'ann'"):
        keys.revoke("anm")
    for name in ("", "x" * 65, "a\nb", "\x1b[2J"):
        with pytest.raises(ConfigError, match="printable"):
            add(keys, name)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'[{"name": "x"}]', b"\xff"])
def test_a_damaged_file_lets_nobody_in(keys: Keys, content: bytes) -> None:
    secret = add(keys)
    keys.path.write_bytes(content)
    with pytest.raises(ConfigError, match="Nobody comes in"):
        keys.find(secret)


def test_a_session_stands_for_its_key_until_it_ends(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, _ = keys.add("ann", False, (), Limits())
    path = tmp_path / "home" / "sessions.json"
    sessions = Sessions(path)
    token, other = sessions.open(key), sessions.open(key)
    assert token not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Sessions(path).find(token) == key.id
    sessions.close(token)
    assert sessions.find(token) is None
    assert sessions.find(other) == key.id
    now = json.loads(path.read_text()).popitem()[1]["ends"]
    monkeypatch.setattr("edgechat.keys.time.time", lambda: now + SESSION_S)
    assert sessions.find(other) is None


def test_logins_are_bounded(keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgechat.keys.MAX_SESSIONS", 3)
    key, _ = keys.add("ann", False, (), Limits())
    sessions = Sessions(tmp_path / "sessions.json")
    tokens = [sessions.open(key) for _ in range(5)]
    assert [sessions.find(token) is not None for token in tokens] == [False, False, True, True, True]


@pytest.mark.parametrize(
    "more", [{"host": "0.0.0.0"}, {"host": "::"}, {"hosts": ("a.example",)}, {"host": "example.org"}]
)
def test_nobody_is_let_in_from_outside_without_a_key(tmp_path: Path, more: dict[str, object]) -> None:
    settings = Settings(home=tmp_path, **more)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="edgechat key add"):
        check_exposure(settings)
    add(Keys(tmp_path / "keys.json"))
    check_exposure(settings)


def test_loopback_by_any_name() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1", "localhost"]))
    assert not any(map(is_loopback, ["", "0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1", "localhost.evil.com"]))
