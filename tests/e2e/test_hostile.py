"""Hostile bodies against a server in a process of its own: 4xx, and its memory stays where it was.

`make test` sends every body a few times; EDGECHAT_TORTURE=1 a hundred times. The sizes are printed (`-s`, `-rP`).
"""

import os
import socket

import httpx
import psutil

from tests.api.test_fuzz import BODIES, HOSTILE
from tests.conftest import FakeModel
from tests.e2e.conftest import serve

ROUNDS = 100 if "EDGECHAT_TORTURE" in os.environ else 3
LARGE = 40 << 20  # bytes of a body
BLANK = b" " * (1 << 20)
GROWTH = 16 << 20  # bytes: what allocators keep for themselves; one large body kept would be more
AS_JSON = {"Content-Type": "application/json"}


def test_hostile_bodies_leave_memory_flat(fake_model: FakeModel) -> None:
    with serve("--engine", "fake", "--model", str(fake_model(reply="ok"))) as server:
        url = server.ready()
        with httpx.Client(base_url=url, timeout=30) as client:
            a_round(client)  # whatever is loaded or made once
            held = [sizes(server.process.pid)]
            for _ in range(ROUNDS):
                a_round(client)
                held.append(sizes(server.process.pid))
            assert client.post("/chat", json={"input": "x"}).json() == {"reply": "ok"}
    # An allocator gives back now and then: what is held for good is in the least of many readings.
    before, after = (
        list(map(min, zip(*some, strict=True))) for some in (held[: len(held) // 2], held[len(held) // 2 :])
    )
    sent = ROUNDS * len(BODIES) * (len(HOSTILE) + 2)
    print(f"{sent} hostile bodies; MB of server and worker before: {in_mb(before)}, after: {in_mb(after)}")
    assert len(before) == len(after) == 2
    for was, now in zip(before, after, strict=True):
        assert now - was < GROWTH


def a_round(client: httpx.Client) -> None:
    """Every body to every route, and one of 40 MB, announced or not."""
    for path in BODIES:
        for name, raw in HOSTILE.items():
            answer = client.post(path, content=raw, headers=AS_JSON)
            assert answer.status_code == 400, (path, name, answer.status_code)
        assert client.post(path, content=(BLANK for _ in range(LARGE >> 20)), headers=AS_JSON).status_code == 413
        announced(client, path)


def announced(client: httpx.Client, path: str) -> None:
    """A body that is refused for the length it says it has, before it comes."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=30) as line:
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        line.sendall(f"{head}Content-Length: {LARGE}\r\n\r\n".encode())
        assert b" 413 " in line.recv(4096).partition(b"\r\n")[0]


def sizes(pid: int) -> list[int]:
    """Bytes in memory of the server and of its worker."""
    process = psutil.Process(pid)
    return [one.memory_info().rss for one in [process, *process.children(recursive=True)]]


def in_mb(sizes: list[int]) -> str:
    return " + ".join(f"{size / (1 << 20):.1f}" for size in sizes)
