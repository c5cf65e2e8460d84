"""What is said to a server stays in it: no key and no sentence anywhere but where it belongs, and no word to anybody.

Belongs: a conversation in the history of its owner, and the engine's memory of prompts (prefixes/, 0600).
"""

import base64
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from edgechat.observe.bundle import unpacked
from tests.conftest import FakeModel
from tests.e2e.conftest import SERVE, Server, run, serve, started

SENTENCE = "the canary sang behind the seventh waterfall"
ABORT = "and then the engine died"
WRONG = "ec-CANARYcanaryCANARYcanaryCANARYcanary0"
BELONGS = ("history", "prefixes")


def forms(secret: str) -> Iterator[bytes]:
    """A secret as it stands, and as programs like to write it."""
    raw = secret.encode()
    yield raw
    yield base64.b64encode(raw).rstrip(b"=")[: len(raw)]
    yield hashlib.sha256(raw).hexdigest().encode()
    yield json.dumps(secret).encode()[1:-1]
    yield secret.replace(" ", "%20").encode()
    yield secret.replace(" ", "+").encode()


class Seen:
    """Everything that the outside got to see, by where."""

    def __init__(self) -> None:
        self.places: dict[str, bytes] = {}

    def add(self, place: str, what: bytes | str) -> None:
        self.places[place] = self.places.get(place, b"") + (what.encode() if isinstance(what, str) else what) + b"\n"

    def bundle(self, name: str, packed: bytes) -> None:
        """The parts of a bundle for support."""
        for part, content in unpacked(packed).items():
            assert isinstance(content, bytes)
            self.add(f"{name}, {part}", content)

    def process(self, server: Server) -> None:
        """What the system tells of the server and its workers."""
        root = psutil.Process(server.process.pid)
        for one in (root, *root.children(recursive=True)):
            for name in ("environ", "cmdline"):
                self.add(f"/proc/…/{name}", Path(f"/proc/{one.pid}/{name}").read_bytes())

    def hits(self, *secrets: str) -> list[str]:
        return [
            f"{place}: {form.decode()}"
            for place, what in self.places.items()
            for secret in secrets
            for form in forms(secret)
            if form in what
        ]


def added(name: str, *more: str) -> str:
    """A new key."""
    (secret,) = re.findall(r"ec-[\w-]{20,}", run("key", "add", name, *more).stdout)
    return str(secret)


def live(url: str, seen: Seen, key: str, other: str) -> None:
    """All that a day brings: answers, refusals, mistakes, a death of the engine, people who look around."""
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": SENTENCE}], "max_tokens": 30}
    wrong: list[tuple[str, str, Any]] = [
        ("POST", "/v1/chat/completions", asked | {"temperature": 9}),
        ("POST", "/v1/chat/completions", asked | {"messages": [{"role": "user", "content": SENTENCE * 5_000}]}),
        ("POST", "/v1/chat/completions", asked | {"messages": [{"role": "user", "text": SENTENCE}]}),
        ("POST", "/v1/chat/completions", asked | {"messages": [{"role": "user", "content": f"{SENTENCE} {ABORT}"}]}),
        ("POST", "/v1/messages", asked | {"model": "no-such-model"}),
        ("POST", "/api/import", {"messages": [{"role": "nobody", "content": SENTENCE}]}),
        ("POST", "/api/runs", {"content": SENTENCE, "conversation_id": "none"}),
        ("POST", "/api/login", {"key": WRONG}),
    ]
    mine = {"Authorization": f"Bearer {key}", "User-Agent": f"client/{WRONG}"}
    with httpx.Client(base_url=url, timeout=60, headers=mine) as client:
        assert SENTENCE in client.post("/v1/chat/completions", json=asked | {"max_tokens": 100}).text
        assert "[DONE]" in client.post("/v1/chat/completions", json=asked | {"stream": True}).text
        begun = client.post("/api/runs", json={"content": SENTENCE}).json()
        client.get(f"/api/runs/{begun['run_id']}/events")
        for method, path, body in wrong:
            answer = client.request(method, path, json=body)
            assert answer.status_code >= 400, (path, answer.text)
            seen.add(f"error of {path}", answer.text)
        seen.add("error of bad JSON", client.post("/chat", content=f'{{"input": "{SENTENCE}', headers=JSON).text)
        seen.add("error of a wrong key", httpx.get(f"{url}/v1/models", headers={"x-api-key": WRONG}).text)
        seen.add("error of a key in the address", httpx.get(f"{url}/v1/models", params={"key": key}).text)
        assert SENTENCE in client.get("/api/export").text
    with httpx.Client(base_url=url, timeout=60, headers={"x-api-key": other}) as client:  # an operator
        for path in ("/metrics", "/api/export", "/api/conversations", "/api/conversations?q=canary", "/api/status"):
            seen.add(path, client.get(path).text)
        with client.stream("GET", "/api/dash/events") as events:
            seen.add("/api/dash/events", next(line for line in events.iter_lines() if line.startswith("data")))
        seen.bundle("the page's bundle", client.get("/api/dash/diagnostics").content)


JSON = {"Content-Type": "application/json"}


def test_no_key_and_no_sentence_is_seen_anywhere(fake_model: FakeModel, tmp_path: Path) -> None:
    """A server's whole life, a death of its engine and a kill included."""
    model, seen, log = str(fake_model(abort_on=ABORT)), Seen(), tmp_path / "log" / "edgechat.log"
    key, other = added("canary"), added("operator", "--operator")
    environ = {"EDGECHAT_LOG_FORMAT": "json", "EDGECHAT_LOG_FILE": str(log), "PYTHONFAULTHANDLER": "1"}
    for end in ("terminate", "kill"):
        with serve("--engine", "fake", "--model", model, **environ) as server:
            url = server.ready()
            live(url, seen, key, other)
            deadline = time.monotonic() + 30
            while httpx.post(f"{url}/chat", json={"input": "x"}, headers={"x-api-key": key}).status_code != 200:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            seen.process(server)
            assert run("doctor", "--bundle", str(tmp_path / f"{end}.zip"), **environ).returncode == 0
            seen.bundle(f"a bundle before {end}", (tmp_path / f"{end}.zip").read_bytes())
            getattr(server.process, end)()
            server.process.wait(30)
        seen.add("standard output and error", server.words)
    assert run("doctor", "--bundle", str(tmp_path / "late.zip"), **environ).returncode == 0
    seen.bundle("a bundle without a server", (tmp_path / "late.zip").read_bytes())
    home = tmp_path / "home"
    for path in sorted(path for folder in (home, log.parent) for path in folder.rglob("*") if path.is_file()):
        where = path.relative_to(tmp_path)
        if where.parts[1] not in BELONGS:
            seen.add(str(where), path.read_bytes() if where.name != "keys.json" else b"".join(_but_hashes(path)))
        anybodys = where.parts[1] == "models" or not path.read_bytes().strip(b"\0")
        assert anybodys or path.stat().st_mode & 0o077 == 0, f"{where} can be read by others"
    print(f"{len(seen.places)} places, {sum(map(len, seen.places.values()))} bytes looked through")
    assert "worker ended" in seen.places["standard output and error"].decode()
    assert len(seen.places) > 35
    assert seen.places["a bundle without a server, log.txt"].count(b"worker ended") > 0
    assert seen.hits(key, other, WRONG, SENTENCE) == []


def _but_hashes(keys: Path) -> Iterator[bytes]:
    """The file of the keys without what it is for."""
    for entry in json.loads(keys.read_text()):
        entry.pop("sha256")
        yield json.dumps(entry).encode()


# ── nobody is spoken to ──

# Runs the command as ever, its upkeep often, and writes down every address that this process turns to.
WATCHED = """
import sys
record = sys.argv.pop(1)
def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        with open(record, "a") as log:
            print(event, *arguments[1:2], file=log)
sys.addaudithook(hook)
from edgechat.models import upkeep
upkeep.DUE_S = upkeep.WATCH_S = 0.2
from edgechat.cli import main
main()
"""
OUTWARD = re.compile(r"(connect|sendto|sendmsg)\(.*sa_family=AF_INET6?")


@pytest.mark.parametrize("witness", ["Python", "the system"])
def test_a_default_server_opens_no_connection(fake_model: FakeModel, tmp_path: Path, witness: str) -> None:
    """While it starts, answers, fails, idles past its upkeep, loses its engine, and ends."""
    record, traced = tmp_path / "python.txt", tmp_path / "system.txt"
    watching = [sys.executable, "-c", WATCHED, str(record), *SERVE[1:], "--engine", "fake"]
    if witness == "the system":
        if not can_trace():
            pytest.skip("strace, which watches the system's calls, is not installed or may not trace")
        watching = ["strace", "-D", "-f", "-qq", "-o", str(traced), "-e", "trace=connect,sendto,sendmsg", *watching]
    with started([*watching, "--model", str(fake_model(abort_on=ABORT))], {}) as server:
        url = server.ready(120)
        with httpx.Client(base_url=url, timeout=60) as client:
            ask: dict[str, Any] = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 5}
            assert client.post("/v1/chat/completions", json=ask).status_code == 200
            told = client.post("/v1/chat/completions", json=ask | {"api_base": f"{url}/x"}).json()
            assert told["edgechat"]["ignored"] == ["api_base"]
            assert client.post("/v1/chat/completions", json=ask | {"model": "http://127.0.0.1:9/x"}).status_code == 404
            assert client.post("/api/runs", json={"content": "https://example.org/ says hello"}).status_code == 201
            for path in ("/", "/readyz", "/metrics", "/api/models", "/api/status", "/no/such/page"):
                assert client.get(path).status_code < 500
            assert client.post("/chat", json={"input": ABORT}).status_code == 503
        time.sleep(1.0)  # several looks of the upkeep
        server.ready(60)
        os.kill(json.loads((tmp_path / "home" / "server.json").read_text())["pid"], signal.SIGTERM)
        server.process.wait(30)
    assert record.exists() is False, record.read_text()
    if witness == "the system":
        outward = [line for line in traced.read_text().splitlines() if OUTWARD.search(line)]
        assert outward == []


def can_trace() -> bool:
    strace = shutil.which("strace")
    return strace is not None and not subprocess.run([strace, "-D", "-qq", "true"], capture_output=True).returncode
