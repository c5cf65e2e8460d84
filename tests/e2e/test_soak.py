"""A server that is used for long: what it holds of memory, files, places and disk does not grow with time.

Half an hour in `make torture`; EDGECHAT_TORTURE_MINUTES=1 for less of it. Otherwise a few seconds.
"""

import asyncio
import json
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from tests.api.test_disconnects import leave
from tests.e2e.conftest import Server, serve
from tests.e2e.test_load import Tally, held, load

TORTURE = "EDGECHAT_TORTURE" in os.environ
MINUTES = float(os.environ.get("EDGECHAT_TORTURE_MINUTES", 30 if TORTURE else 0.04))
ROUNDS = 10 if MINUTES >= 1 else 2
CLIENTS = 30
LEAVERS = 10  # a round, at a random moment each
MEMORY, DISK = 16 << 20, 16 << 20  # bytes that the second half may add

pytestmark = pytest.mark.alone


@dataclass(frozen=True)
class Held:
    """What a server has at one moment, after whoever used it left."""

    memory: int
    files: int
    places: float
    disk: int

    @classmethod
    def by(cls, server: Server, home: Path) -> "Held":
        return cls(
            held(server),
            psutil.Process(server.process.pid).num_fds(),
            places(server.url()),
            sum(path.stat().st_size for path in home.rglob("*") if path.is_file()),
        )

    def row(self) -> str:
        """In one line."""
        return f"{self.memory >> 20} MB, {self.files} files, {self.places:.0f} places, {self.disk >> 10} KB on disk"


def places(url: str) -> float:
    """Answers that run or wait."""
    text = httpx.get(f"{url}/metrics").text
    return sum(float(value) for value in re.findall(r"^requests_(?:running|waiting) (\S+)$", text, re.MULTILINE))


def until_idle(url: str) -> None:
    deadline = time.monotonic() + 60
    while places(url):
        assert time.monotonic() < deadline, "a place is not given back"
        time.sleep(0.1)


def test_nothing_grows_with_time(tmp_path: Path) -> None:
    (tmp_path / "fake.json").write_text(json.dumps({"step_ms": 2}))
    home = tmp_path / "home"
    environ = {"EDGECHAT_LOG_FILE": str(home / "log" / "edgechat.log"), "EDGECHAT_LOG_MAX_BYTES": "100KB"}
    environ |= {"EDGECHAT_PREFIX_BYTES": "4MB", "EDGECHAT_CONNECTIONS_PER_ADDRESS": "1000"}
    with serve("--engine", "fake", "--model", str(tmp_path / "fake.json"), **environ) as server:
        url = server.ready()
        port, tally, seen = int(url.rpartition(":")[2]), Tally(), [Held.by(server, home)]
        for number in range(ROUNDS):
            asyncio.run(load(port, CLIENTS, tally, MINUTES * 60 / ROUNDS))
            for seed in range(LEAVERS):
                leave(("127.0.0.1", port), number * LEAVERS + seed)
            until_idle(url)
            seen.append(Held.by(server, home))
        assert server.process.poll() is None
    middle, last = seen[ROUNDS // 2], seen[-1]
    print(f"{MINUTES:g} minutes, {CLIENTS} clients: {tally.row()}")
    print(f"at first {seen[0].row()}; halfway {middle.row()}; at last {last.row()}")
    assert tally.foreign == []
    assert set(tally.ends) <= {"200", "429", "503"}
    assert last.memory - middle.memory < MEMORY
    assert last.disk - middle.disk < DISK
    assert last.files <= middle.files + 2
    assert last.places == 0
