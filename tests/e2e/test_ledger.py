"""The system fails a server while people talk: after each fault the ledger's judge finds what was promised.

One server on a small disk goes through all of them. Its clients write down what they hear (ledger.py) before, during
and after each fault; then everything is held against what the API and the database tell. `make test` has some of the
faults, `make torture` all of them, each for longer.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import FakeModel, rambling
from tests.disks import full, small_disk
from tests.e2e.conftest import SERVE, free_port
from tests.e2e.ledger import Client, Line, complaints, request, stored
from tests.e2e.test_faults import knocking
from tests.e2e.test_private import can_trace

TORTURE = "EDGECHAT_TORTURE" in os.environ
CLIENTS = 20 if TORTURE else 4
LASTS_S = 8.0 if TORTURE else 0.4  # each of: before, during and after a fault
DISK = "256m" if TORTURE else "16m"
HOUR_S = 3600.0

# Runs the command with a wall clock that is set by a file: seconds to add.
CLOCKED = """
import sys, time
path, real = sys.argv.pop(1), time.time
def now():
    try:
        with open(path) as file:
            return real() + float(file.read())
    except (OSError, ValueError):
        return real()
time.time = now
from edgechat.cli import main
main()
"""


class House:
    """A server that can be started again, and what surrounds it."""

    def __init__(self, disk: Path, model: Path, clock: Path) -> None:
        self.disk, self.clock, self.port = disk, clock, free_port()
        flags = {"--engine": "fake", "--model": str(model), "--home": str(disk), "--port": str(self.port)}
        words = [word for pair in flags.items() for word in pair]
        self._command = [sys.executable, "-c", CLOCKED, str(clock), SERVE[1], *words]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def start(self) -> None:
        """Start it, and wait until its model answers."""
        environ = os.environ | {"EDGECHAT_PREFIX_BYTES": "1MB", "EDGECHAT_DRAIN": "5"}
        read, write = os.pipe()
        self._process = subprocess.Popen(self._command, stdout=write, stderr=write, env=environ)
        self.reader = subprocess.Popen(["cat"], stdin=read, stdout=subprocess.DEVNULL)
        os.close(read)
        os.close(write)
        self.until_ready()

    def until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            assert self.process.poll() is None, f"ended: {self.process.returncode}"
            try:
                if request(self.port, "GET", "/readyz")[0] == 200:
                    return
            except OSError:
                pass
            assert time.monotonic() < deadline
            time.sleep(0.05)

    @property
    def worker(self) -> psutil.Process:
        (worker,) = psutil.Process(self.process.pid).children()
        return worker

    def stop(self) -> None:
        """End it as a person would."""
        self.process.terminate()
        assert self.process.wait(30) == 0
        self.reader.wait(10)

    def settled(self) -> list[Line]:
        """Every conversation, once no answer is under way."""
        deadline = time.monotonic() + 60
        while True:
            found = stored(self.port)
            if not any(message["status"] == "running" for one in found for message in one["messages"]):
                return found
            assert time.monotonic() < deadline, "an answer does not come to an end"
            time.sleep(0.1)


# ── the faults ──


@contextmanager
def failing(house: House, calls: str, error: str) -> Iterator[None]:
    """The server's system calls `calls` fail."""
    if not can_trace():
        pytest.skip("strace, which makes a disk fail, is not installed or may not trace")
    tracing = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={calls}:error={error}"]
    with subprocess.Popen([*tracing, "-p", str(house.process.pid)], stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)


@contextmanager
def few_files(house: House) -> Iterator[None]:
    process = psutil.Process(house.process.pid)
    limit = process.rlimit(psutil.RLIMIT_NOFILE)
    process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds() + 2, limit[1]))
    with knocking(house.port):
        yield
    process.rlimit(psutil.RLIMIT_NOFILE, limit)


@contextmanager
def clock_that_jumps(house: House) -> Iterator[None]:
    """To each of four times for a while; then it is right again."""
    now = time.time()
    for jump in (HOUR_S, -HOUR_S, 60.0 - now, 4_102_444_800.0 - now):
        house.clock.write_text(str(jump))
        time.sleep(LASTS_S / 4)
    yield
    house.clock.write_text("0")


@contextmanager
def closed_output(house: House) -> Iterator[None]:
    house.reader.kill()  # nobody has its other end now
    house.reader.wait()
    yield


@contextmanager
def worker_without_memory(house: House) -> Iterator[None]:
    house.worker.rlimit(psutil.RLIMIT_DATA, (1 << 20, 1 << 20))
    told = httpx.post(f"http://127.0.0.1:{house.port}/tokenize", json={"content": "x" * 3_000_000}, timeout=60)
    assert told.status_code == 503, told.text
    yield
    house.until_ready()


@contextmanager
def killed_worker(house: House) -> Iterator[None]:
    house.worker.kill()
    yield
    house.until_ready()


@contextmanager
def sigterm(house: House) -> Iterator[None]:
    house.stop()
    house.start()
    yield


FAULTS: dict[str, Callable[[House], AbstractContextManager[None]]] = {
    "disk full": lambda house: full(house.disk),
    "no file left": few_files,
    "SIGTERM": sigterm,
}
if TORTURE:
    FAULTS |= {
        "disk read-only": lambda house: failing(house, "pwrite64", "EROFS"),
        "fsync error": lambda house: failing(house, "fsync,fdatasync", "EIO"),
        "clock jumps": clock_that_jumps,
        "worker without memory": worker_without_memory,
        "worker killed": killed_worker,
        "standard output closed": closed_output,
    }


@pytest.fixture
def house(tmp_path: Path, fake_model: FakeModel) -> Iterator[House]:
    with small_disk(tmp_path / "disk", DISK) as disk:
        house = House(disk, fake_model(reply=rambling(100), step_ms=2), tmp_path / "clock")
        house.start()
        try:
            yield house
        finally:
            house.process.kill()
            house.process.wait()
            house.reader.wait(10)


def talk(clients: list[Client]) -> None:
    """For a while, and until somebody is acknowledged: it is well, or well again."""
    began, before = time.monotonic(), acknowledged(clients)
    while time.monotonic() < began + LASTS_S or acknowledged(clients) == before:
        assert time.monotonic() < began + LASTS_S + 60, "nobody is acknowledged"
        time.sleep(0.05)


def acknowledged(clients: list[Client]) -> int:
    return sum(line["what"] == "ok" for client in clients for line in client.ledger.lines)


def test_what_was_acknowledged_is_there_after_each_fault(house: House, tmp_path: Path) -> None:
    ledgers = []
    for turn, (name, fault) in enumerate(FAULTS.items()):
        over = threading.Event()
        numbers = range(turn * CLIENTS, (turn + 1) * CLIENTS)
        clients = [Client(number, house.port, tmp_path, over, seed=turn) for number in numbers]
        for client in clients:
            client.start()
        talk(clients)
        with fault(house):
            time.sleep(LASTS_S)
        talk(clients)
        over.set()
        for client in clients:
            client.join(60)
        told = Counter(line["what"] for client in clients for line in client.ledger.lines)
        ledgers += [client.ledger for client in clients]
        found = complaints(ledgers, house.settled(), house.disk / "history" / "history.db", [])
        print(f"{name}: {told['ok']} acknowledged, {told['fail']} refused, {told['info']} without an answer")
        assert found == [], name
    house.stop()
    left = [path.name for path in house.disk.rglob("*") if path.suffix in (".part", ".tmp")]
    assert left == []
