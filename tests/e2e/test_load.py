"""More than the machine can answer, for a while: who is answered is answered whole, who is refused hears when to come.

Every client has a canary and asks on its own clock, whether its last answer came or not (an open loop). /healthz is
asked for by a process of its own meanwhile. Speeds are printed, not asserted.
"""

import asyncio
import json
import os
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import Server, serve
from tests.e2e.prober import probing

TORTURE = "EDGECHAT_TORTURE" in os.environ
SECONDS = 300 if TORTURE else 10
CLIENTS = (200, 500) if TORTURE else (200,)
EVERY_S = 4.0  # a client asks again after as long, on average
GROWTH = 64 << 20  # bytes that a load may leave behind

pytestmark = pytest.mark.alone


@dataclass
class Tally:
    """What became of the questions. Times in seconds."""

    ends: Counter[str] = field(default_factory=Counter)
    foreign: list[str] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)

    def row(self) -> str:
        """In one line."""

        def percentile(times: list[float], share: float) -> str:
            return f"{sorted(times)[int(share * (len(times) - 1))] * 1000:.0f} ms" if times else "–"

        return (
            f"{dict(self.ends)}; answers p50 {percentile(self.answers, 0.5)}, "
            f"refusals p99 {percentile(self.refusals, 0.99)}"
        )


async def exchange(port: int, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """One request over a connection of its own. Raises OSError where the server does not answer it whole."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        head, _, body = (await asyncio.wait_for(reader.read(-1), 120)).partition(b"\r\n\r\n")
    finally:
        writer.close()
    first, *lines = head.decode().split("\r\n")
    if not first:
        raise ConnectionResetError
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split()[1]), headers, body


def question(canary: str) -> bytes:
    body = json.dumps({"messages": [{"role": "user", "content": canary}], "user": canary, "max_tokens": 60}).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def ask(port: int, canary: str, tally: Tally) -> None:
    begun = time.perf_counter()
    try:
        status, headers, body = await exchange(port, question(canary))
    except OSError as error:
        tally.ends[type(error).__name__] += 1
        return
    took = time.perf_counter() - begun
    tally.ends[str(status)] += 1
    if status == 200:
        tally.answers.append(took)
        said = json.loads(body)["choices"][0]
        if (said["message"]["content"], said["finish_reason"]) != (f"You said: {canary}", "stop"):
            tally.foreign.append(f"{canary}: {said}")
    else:
        tally.refusals.append(took)
        if "retry-after" not in headers or not json.loads(body)["error"]["message"]:
            tally.foreign.append(f"{status} without when or why: {headers}")


async def client(port: int, number: int, until: float, tally: Tally) -> None:
    draw = random.Random(number)
    under_way = set()
    await asyncio.sleep(draw.random() * min(EVERY_S, until - time.monotonic()))
    while time.monotonic() < until:
        canary = f"canary {number:04} {draw.getrandbits(64):x}"
        task = asyncio.create_task(ask(port, canary, tally))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        await asyncio.sleep(min(draw.expovariate(1 / EVERY_S), max(0, until - time.monotonic())))
    await asyncio.gather(*under_way)


async def load(port: int, clients: int, tally: Tally, seconds: float = SECONDS) -> None:
    until = time.monotonic() + seconds
    await asyncio.gather(*(client(port, number, until, tally) for number in range(clients)))


def held(server: Server) -> int:
    """Bytes of the process tree."""
    root = psutil.Process(server.process.pid)
    return sum(process.memory_info().rss for process in (root, *root.children(recursive=True)))


async def alone(port: int) -> float:
    tally = Tally()
    await ask(port, "canary alone", tally)
    assert tally.ends == {"200": 1}, tally.ends
    return tally.answers[0]


@pytest.mark.parametrize("clients", CLIENTS)
def test_whoever_is_answered_is_answered_whole(tmp_path: Path, clients: int) -> None:
    (tmp_path / "fake.json").write_text(json.dumps({"step_ms": 5}))
    more = {"EDGECHAT_HOME": str(tmp_path / "home"), "EDGECHAT_CONNECTIONS_PER_ADDRESS": "1000"}
    with serve("--engine", "fake", "--model", str(tmp_path / "fake.json"), **more) as server:
        port = int(server.ready().rpartition(":")[2])
        base = asyncio.run(alone(port))
        before, files = held(server), psutil.Process(server.process.pid).num_fds()
        tally = Tally()
        with probing(port) as probes:
            asyncio.run(load(port, clients, tally))
        after, grown = asyncio.run(alone(port)), held(server) - before
        print(f"{clients} clients for {SECONDS} s: {tally.row()}; {probes.row()}")
        print(f"alone before {base * 1000:.0f} ms, after {after * 1000:.0f} ms; {grown / (1 << 20):+.1f} MB")
        assert probes.statuses == {200}
        assert tally.foreign == []
        assert set(tally.ends) <= {"200", "429", "503"}
        assert tally.ends["200"] > 0
        assert grown < GROWTH
        assert psutil.Process(server.process.pid).num_fds() <= files + 1
