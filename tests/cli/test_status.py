"""`edgechat status` and `edgechat doctor --bundle`, beside a server and without one."""

import io
import json
import os
import stat
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import structlog
from rich.console import Console

from edgechat import presence
from edgechat.cli.status import age, look, seen
from edgechat.keys import Keys
from edgechat.observe import logs
from edgechat.observe.bundle import masked
from edgechat.settings import Settings
from edgechat.types import Limits
from tests.api.conftest import serving
from tests.cli.conftest import Command

KEY = "ec-CANARY0123456789abcdefghijklmnop"
WORDS = "the heron stands in the reeds"
SECRETS: dict[str, Any] = {
    "sentry_dsn": "https://canarykey@sentry.example/1",
    "modelscope_endpoint": "https://canarylogin:canarypass@hub.example",
    "aliases": {"small": f"https://hub.example/x.gguf?token={KEY}"},
}

ANSWER = {
    "client": "ann",
    "model": "m",
    "phase": "writing",
    "read": 5,
    "total": 9,
    "said": 2,
    "tok_s": None,
    "age_s": 1,
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A server with its card, and a model whose answers are canaries."""
    (tmp_path / "fake.json").write_text(json.dumps({"reply": f"So {WORDS}."}))
    home = tmp_path / "home"
    logs.configure("info", "json")  # it logs to standard error, as it would from its own process
    with serving(tmp_path / "fake.json", home, secret="s", **SECRETS) as base:
        (home / "server.json").write_bytes(msgspec.json.encode(presence.Card(os.getpid(), base, "s")))
        yield base


def test_where_no_server_runs_that_is_said(command: Command, tmp_path: Path) -> None:
    ran = command("status")
    assert ran.status == 1
    assert "No server runs from" in ran.said
    assert "edgechat serve" in ran.said
    ran = command("status", "--json")
    assert (ran.status, json.loads(ran.said)["running"]) == (1, False)
    assert command("status", "--json", "--watch").status == 2


def _settled(found: dict[str, Any]) -> bool:
    """Whether the one answer is signed out and charged, and the first second's figures are there."""
    (client,) = found["clients"]
    charged = client["left"] != {"tokens_per_day": 10_000}
    return not client["open"] and charged and found["sample"] is not None


def test_a_running_server_tells_what_it_does(command: Command, server: str, tmp_path: Path) -> None:
    operator = Keys(tmp_path / "home" / "keys.json").add("ann", True, (), Limits(tokens_per_day=10_000))[1]
    headers = {"x-api-key": operator}
    ask = {"messages": [{"role": "user", "content": WORDS}]}
    assert httpx.post(f"{server}/v1/chat/completions", json=ask, headers=headers).status_code == 200
    deadline = time.monotonic() + 20
    while not _settled(look(tmp_path / "home")):
        assert time.monotonic() < deadline
    ran = command("status", "--json")
    assert ran.status == 0
    found = json.loads(ran.said)
    assert (found["running"], found["url"], found["state"], found["model"]) == (True, server, "ready", "fake.json")
    (client,) = found["clients"]
    assert (client["name"], client["answers"], client["open"]) == ("ann", 1, 0)
    assert client["left"] == {"tokens_per_day": 10_000 - client["tokens"]} != {"tokens_per_day": 10_000}
    (model,) = found["models"]
    assert (model["state"], model["busy"], model["context"], model["cells"]) == ("loaded", 0, 4096, 16384)
    assert WORDS not in ran.said
    shown = command("status")
    assert shown.status == 0
    for word in ("● ready", "fake.json", server, "loaded", "4,096", "0 in progress"):
        assert word in shown.said


def test_what_the_server_answers_with_is_not_removed(command: Command, server: str) -> None:
    ran = command("remove", "fake.json")
    assert ran.status == 1
    said = f"edgechat: the server at {server} answers with fake.json: stop it first, with edgechat stop."
    assert ran.complained.splitlines()[-1] == said
    ran = command("rm", "stranger")
    assert (ran.status, "stranger" in ran.complained) == (2, True)


def test_a_server_that_hangs_is_no_traceback(command: Command, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    presence.leave(tmp_path / "home", "http://127.0.0.1:1")
    ran = command("status", "--json")
    assert ran.status == 1
    assert "does not answer" in json.loads(ran.said)["why"]
    assert "Traceback" not in command("status").complained


def test_a_card_of_another_server_opens_nothing(command: Command, server: str, tmp_path: Path) -> None:
    Keys(tmp_path / "home" / "keys.json").add("ann", True, (), Limits())
    presence.leave(tmp_path / "home", server)  # the address is right, the secret is not
    ran = command("status", "--json")
    assert (ran.status, json.loads(ran.said)["running"]) == (1, False)
    assert "401" in json.loads(ran.said)["why"]


def test_everything_there_can_be_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    found = {
        "running": True,
        "url": "http://127.0.0.1:1",
        "version": "1",
        "pid": 7,
        "uptime_s": 100_000,
        "state": "downloading",
        "model": "m",
        "progress": 0.5,
        "why": "slow [line]",
        "hint": "wait",
        "sample": None,
        "memory": {"limit": 10**9, "planned": 10**8},
        "log_lines_dropped": 3,
        "models": [{"name": "m", "state": "downloading", "quantisation": None, "ram": None}],
        "requests": [ANSWER],
        "errors": [{"at": 0.0, "code": "engine_failed", "message": "it [died]"}],
    }
    Console(width=120).print(seen(found))
    shown = capsys.readouterr().out
    for word in ("up 1 d 3 h", "● downloading", "slow [line]", "3 lines", "5/9", "engine_failed  it [died]", "–"):
        assert word in shown


@pytest.mark.parametrize(
    ("seconds", "words"), [(3.2, "3 s"), (200, "3 min"), (7300, "2 h 1 min"), (200_000, "2 d 7 h")]
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert age(seconds) == words


def parts(bundle: bytes) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def canaries(found: dict[str, str]) -> list[str]:
    """Where something private is."""
    words = (WORDS, "heron", KEY, "canarykey", "canarypass", "canarylogin")
    return [f"{name}: {word}" for name, text in found.items() for word in words if word in text]


def test_a_bundle_has_all_that_helps_and_nobodys_words(command: Command, server: str, tmp_path: Path) -> None:
    conversation = httpx.post(f"{server}/api/runs", json={"content": f"{WORDS} {KEY}"}).json()["conversation_id"]
    httpx.patch(f"{server}/api/conversations/{conversation}", json={"version": 0, "title": WORDS})
    bad = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "string", "pattern": f"(?={WORDS})"}}}
    ask: dict[str, Any] = {"messages": [{"role": "user", "content": WORDS}], "response_format": bad}
    assert httpx.post(f"{server}/v1/chat/completions", json=ask).status_code == 400
    assert httpx.post(f"{server}/v1/chat/completions", json=ask | {"model": WORDS}).status_code == 404
    logs.configure("debug", "json")
    log = structlog.get_logger()
    log.error("a bug", exc_info=ValueError(WORDS))
    log.error("worker ended", words=WORDS, status=134)
    log.info("asked", header=f"Bearer {KEY}")
    downloaded = httpx.get(f"{server}/api/dash/diagnostics")
    assert "attachment" in downloaded.headers["content-disposition"]
    found = parts(downloaded.content)
    assert canaries(found) == []
    lines = [json.loads(line) for line in found["log.txt"].splitlines()]
    assert [line["event"] for line in lines[-3:]] == ["a bug", "worker ended", "asked"]
    assert (lines[-3]["error"], lines[-2]["status"]) == ("ValueError", 134)
    path = tmp_path / "bundle.zip"
    ran = command("doctor", "--bundle", str(path), "--json")
    json.loads(ran.said)
    assert str(path) in ran.complained
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = parts(path.read_bytes())
    assert set(found) == {
        *("README.txt", "about.json", "settings.json", "models.json", "log.txt"),
        *("doctor.json", "status.json", "metrics.txt"),
    }
    assert canaries(found) == []
    assert json.loads(found["settings.json"])["modelscope_endpoint"] == "https://[hidden]@hub.example"
    assert json.loads(found["about.json"])["packages"]["uvicorn"]
    assert "generation_tokens_total" in found["metrics.txt"]
    again = command("doctor", "--bundle", str(path))
    assert again.status == 2
    assert "another name" in again.complained


def test_no_password_is_among_the_settings_that_are_shown() -> None:
    given = SECRETS | {"limits_storage": "redis://user:canarypass@127.0.0.1:1/0", "keep_alive": "never"}
    shown = masked(Settings.model_validate(given))
    assert shown["limits_storage"] == "redis://[hidden]@127.0.0.1:1/0"
    assert shown["sentry_dsn"] == "[hidden]"
    assert shown["aliases"] == {"small": "https://hub.example/x.gguf?[hidden]"}
    assert shown["keep_alive"] == "never"


def test_without_a_server_the_log_files_end_is_taken_without_what_exceptions_say(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "edgechat.log"
    log.write_text(
        f"12:00:00 [error    ] a bug                          error='ValueError: {WORDS}' request_id=req_1\n"
        f"12:00:01 [error    ] worker ended                   status=1 words='{WORDS}'\n"
        + json.dumps({"event": "a bug", "error": f"KeyError: {WORDS}", "at": ["x.py:1 f"]})
        + "\n"
        + json.dumps({"event": "worker says", "line": WORDS, "words": WORDS})
        + "\n12:00:02 [info     ] loaded                         model=small\n"
    )
    monkeypatch.setenv("EDGECHAT_LOG_FILE", str(log))
    path = tmp_path / "bundle.zip"
    command("doctor", "--bundle", str(path))
    found = parts(path.read_bytes())
    assert canaries(found) == []
    assert "error=ValueError\n" in found["log.txt"]
    assert '"error": "KeyError"' in found["log.txt"]
    assert "model=small" in found["log.txt"]
    assert "status.json" not in found


def test_a_home_that_is_looked_at_is_not_written(tmp_path: Path) -> None:
    assert look(tmp_path / "nowhere")["running"] is False
    assert not (tmp_path / "nowhere").exists()
