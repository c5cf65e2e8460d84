"""The server is killed at random moments while people talk. What it acknowledged is there; nothing is left running."""

import hashlib
import os
import random
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx
import psutil

from tests.conftest import FakeModel, rambling
from tests.e2e.conftest import EDGECHAT, free_port
from tests.e2e.ledger import Client, age_of_lost_text, complaints, request, stored, window

TORTURE = bool(os.environ.get("EDGECHAT_TORTURE"))
KILLS = int(os.environ.get("EDGECHAT_TORTURE_KILLS", 200 if TORTURE else 10))
CLIENTS = 20 if TORTURE else 5
LONGEST_S = 3.0 if TORTURE else 0.7  # of a server's life once it is up


def start(home: Path, model: Path, port: int) -> subprocess.Popen[bytes]:
    """A server that is alive; its model may still be loading."""
    flags = {"--engine": "fake", "--model": str(model), "--home": str(home), "--port": str(port)}
    command = [str(EDGECHAT), "serve", *(word for pair in flags.items() for word in pair)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while True:
        try:
            assert request(port, "GET", "/healthz")[0] == 200
            return process
        except OSError:
            assert process.poll() is None, f"did not start: {process.returncode}"
            assert time.monotonic() < deadline
            time.sleep(0.02)


def kill(process: subprocess.Popen[bytes]) -> float:
    """Kill the server; its workers end by themselves. Returns when it was."""
    children = psutil.Process(process.pid).children(recursive=True)
    at = time.monotonic()
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(children, 20)
    assert not alive, "a worker outlives its server"
    return at


def test_nothing_acknowledged_is_lost(fake_model: FakeModel, tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    dice, over, port = random.Random(seed), threading.Event(), free_port()
    model, home = fake_model(reply=rambling(400), step_ms=4), tmp_path / "home"
    clients = [Client(number, port, tmp_path, over, seed) for number in range(CLIENTS)]
    process = start(home, model, port)
    killed = []
    try:
        for client in clients:
            client.start()
        for _ in range(KILLS):
            time.sleep(dice.uniform(0, LONGEST_S))
            killed.append(kill(process))
            process = start(home, model, port)
        over.set()
        for client in clients:
            client.join(60)
        killed.append(kill(process))
        process = start(home, model, port)
        ledgers, there = [client.ledger for client in clients], stored(port)
        found = complaints(ledgers, there, home / "history" / "history.db", killed)
        age = age_of_lost_text(ledgers, there, killed)
    finally:
        over.set()
        process.kill()
        process.wait()
    acknowledged = sum(line["what"] == "ok" for client in clients for line in client.ledger.lines)
    print(
        f"seed {seed}: {acknowledged} acknowledged over {len(killed)} kills; the oldest text lost was {age:.2f} s old,"
        f" of at most {window(ledgers):.2f}"
    )
    assert found == []
    assert acknowledged >= KILLS


def test_every_upload_that_was_acknowledged_is_there(fake_model: FakeModel, tmp_path: Path) -> None:
    """Killed while somebody uploads one picture after the other: nothing acknowledged is lost, or not what it was."""
    model, home, port = fake_model(), tmp_path / "home", free_port()
    dice, acknowledged, over = random.Random(0), list[str](), threading.Event()

    def upload() -> None:
        at = f"http://127.0.0.1:{port}/api/attachments"
        while not over.is_set():
            picture = b"\x89PNG\r\n\x1a\n" + os.urandom(200_000)
            with suppress(httpx.HTTPError):
                answer = httpx.put(at, content=picture, headers={"Content-Type": "image/png"}, timeout=10)
                if answer.status_code == 200:
                    acknowledged.append(answer.json()["sha256"])

    somebody = threading.Thread(target=upload)
    process = start(home, model, port)
    try:
        somebody.start()
        for _ in range(max(3, KILLS // 10)):
            time.sleep(dice.uniform(0.2, 1))
            kill(process)
            process = start(home, model, port)
        over.set()
        somebody.join(30)
        for sha256 in acknowledged:
            found = httpx.get(f"http://127.0.0.1:{port}/api/attachments/{sha256}", timeout=10)
            assert (found.status_code, hashlib.sha256(found.content).hexdigest()) == (200, sha256)
    finally:
        over.set()
        process.kill()
        process.wait()
    assert len(acknowledged) >= 3


def read_at(client: Client) -> list[float]:
    """When the client read some text."""
    return [line["at"] for line in client.ledger.lines if line["what"] == "text"]


def test_a_killed_answer_is_at_most_a_moment_short(fake_model: FakeModel, tmp_path: Path) -> None:
    """What was read some seconds before the kill is stored, and the answer knows whose it is."""
    model, home, port = fake_model(reply=rambling(2000), step_ms=25), tmp_path / "home", free_port()
    client = Client(0, port, tmp_path, threading.Event(), seed=0)
    process = start(home, model, port)
    try:
        started = client.say()
        assert started is not None
        while not read_at(client):  # the model is loaded first
            client.read(started, 0.1)
        client.read(started, window([client.ledger]) + 1)
        killed = kill(process)
        process = start(home, model, port)
        there = stored(port)
        found = complaints([client.ledger], there, home / "history" / "history.db", [killed])
    finally:
        process.kill()
        process.wait()
        client.ledger.close()
    assert read_at(client)[0] < killed - window([client.ledger]) < read_at(client)[-1]
    assert there[0]["messages"][1]["status"] == "interrupted"
    print(f"the oldest text lost was {age_of_lost_text([client.ledger], there, [killed]):.2f} s old")
    assert found == []
