"""The server is killed at random moments while people talk. What it acknowledged is there; nothing is left running."""

import os
import random
import subprocess
import threading
import time
from pathlib import Path

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
