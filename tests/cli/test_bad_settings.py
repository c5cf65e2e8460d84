"""Thirty ways to write settings that are none: each is one line that names it, status 2, and nothing was opened."""

import os
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Command

TOML = {
    "an unknown name": ("prot = 8080", "did you mean 'port'"),
    "a name in the wrong case": ("Port = 8080", "did you mean 'port'"),
    "an unknown table": ("[server]\nport = 1", "server"),
    "a port beyond ports": ("port = 70000", "setting port = 70000 .* less than or equal to 65535"),
    "a negative port": ("port = -1", "setting port = -1 .* greater than or equal to 0"),
    "a port in words": ('port = "many"', "setting port = 'many'"),
    "half a port": ("port = 80.5", "setting port = 80.5"),
    "a context below nothing": ("context = -1", "setting context = -1 .* greater than or equal to 0"),
    "a context beyond reason": ("context = 9999999", "setting context = 9999999 .* less than or equal to 1048576"),
    "a queue of none": ("queue = 0", "setting queue = 0 .* greater than or equal to 1"),
    "threads in words": ('threads = "all"', "setting threads = 'all'"),
    "memory in words": ('memory = "plenty"', "setting memory = 'plenty'"),
    "a time in parsecs": ('keep_alive = "10 parsecs"', "keep_alive = '10 parsecs' .* a duration is"),
    "a drain without end": ('drain = "never"', "setting drain = 'never'"),
    "a truth that is none": ('offline = "perhaps"', "setting offline = 'perhaps'"),
    "a level that is none": ('log_level = "loud"', "setting log_level = 'loud' .*'debug'"),
    "a format that is none": ('log_format = "xml"', "setting log_format = 'xml' .*'human'"),
    "a list that is a number": ("hosts = 5", "setting hosts = 5"),
    "an alias that is a number": ("[aliases]\nfast = 5", "setting aliases"),
    "a number that is a table": ("[port]\nx = 1", "setting port"),
    "an endpoint without a scheme": ('modelscope_endpoint = "modelscope.cn"', "begins with https://"),
    "broken TOML": ("port = ", "is not valid TOML"),
    "the same name twice": ("port = 1\nport = 2", "is not valid TOML"),
    "another format": ("port: 8080\nhost: x", "is not valid TOML"),
    "JSON": ('{"port": 8080}', "is not valid TOML"),
    "exposure without a key": ('host = "0.0.0.0"', "setting host lets .*edgechat key add"),
    "a proxy without a key": (
        'trusted_proxies = ["10.0.0.1"]',
        "setting trusted_proxies lets .*edgechat key add",
    ),
    "half a certificate": ('tls_cert = "/no/such.pem"', "certificate /no/such.pem or its key cannot be used"),
}


def quiet(home: Path) -> bool:
    """Nothing was made in the home folder."""
    return not home.exists() or not list(home.iterdir())


@pytest.mark.parametrize(("text", "says"), TOML.values(), ids=TOML)
def test_a_file(command: Command, tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "config.toml").write_text(text)
    ended = command("serve", "--check-config", "--config", str(tmp_path / "config.toml"))
    refused(ended.status, ended.complained, says)
    assert quiet(tmp_path / "home")


@pytest.mark.parametrize(
    ("content", "says"), [(b"\xff\xfe\x00", "is not valid TOML"), (None, "cannot be read"), (b"", "cannot be read")]
)
def test_a_file_that_is_none(command: Command, tmp_path: Path, content: bytes | None, says: str) -> None:
    """Not text, not there, a folder."""
    path = tmp_path / "config.toml"
    if content == b"":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    ended = command("serve", "--check-config", "--config", str(path))
    refused(ended.status, ended.complained, says)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(command: Command, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("port = 1")
    (tmp_path / "config.toml").chmod(0)
    ended = command("serve", "--check-config", "--config", str(tmp_path / "config.toml"))
    refused(ended.status, ended.complained, "cannot be read")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("EDGECHAT_PORT", "http", "setting port = 'http' .*environment"),
        ("EDGECHAT_MEMRY", "1GB", "did you mean 'memory'"),
        ("EDGECHAT_ALIASES", "fast", "alias=name"),
        ("EDGECHAT_LIMITS_STORAGE", "carrier-pigeon://x", "limits_storage"),
        ("MODELSCOPE_ENDPOINT", "ftp://hub", "begins with https://"),
    ],
)
def test_the_environment(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    ended = command("serve", "--check-config")
    refused(ended.status, ended.complained, says)
    assert quiet(tmp_path / "home")


def refused(status: int, complained: str, says: str) -> None:
    """Status 2, and the words as one line."""
    lines = [line for line in complained.splitlines() if line.startswith("edgechat: ")]
    assert (status, len(lines)) == (2, 1), complained
    assert "Traceback" not in complained
    assert re.search(says, lines[0]), lines[0]
