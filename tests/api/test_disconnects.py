"""Clients that leave at any moment: nothing of theirs stays open, and everybody else is served."""

import json
import os
import random
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from edgechat.runtime import Runtime
from edgechat.settings import Settings
from tests.api.conftest import serving
from tests.conftest import FakeModel

COUNT = 1000 if os.environ.get("EDGECHAT_TORTURE") else 100
TALE = " ".join(f"word{number}" for number in range(40))


def request_bytes(draw: random.Random, number: int) -> bytes:
    body = json.dumps(
        {
            "messages": [{"role": "user", "content": f"client {number}"}],
            "stream": draw.random() < 0.7,
            "max_tokens": draw.randint(1, 200),
        }
    ).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Content-Type: application/json\r\n\r\n".encode() + body


def leave(address: tuple[str, int], seed: int) -> None:
    """Ask, and go at a random moment: in the head, in the body, in the queue, at any token; politely or not."""
    draw = random.Random(seed)
    data = request_bytes(draw, seed)
    with socket.create_connection(address, timeout=10) as client:
        phase = draw.choice(["head", "body", "soon", "later", "token"])
        cut = {"head": draw.randint(0, 40), "body": len(data) - draw.randint(1, 40)}.get(phase, len(data))
        client.sendall(data[:cut])
        if phase == "later":
            time.sleep(draw.random() * 0.5)
        elif phase == "token":
            client.recv(draw.randint(1, 4000))
        if draw.random() < 0.5:  # a reset instead of a farewell
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_clients_that_leave_at_any_moment_leave_nothing_open(
    fake_model: FakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtimes: list[Runtime] = []

    def made(settings: Settings) -> Runtime:
        runtimes.append(Runtime(settings))
        return runtimes[-1]

    monkeypatch.setattr("tests.api.conftest.Runtime", made)
    model = fake_model(reply=TALE, step_ms=1, context=500, cells=700)
    with serving(model, tmp_path / "home", prefix_bytes=0) as base:
        address = (str(urlsplit(base).hostname), int(urlsplit(base).port or 0))
        with ThreadPoolExecutor(12) as crowd:
            list(crowd.map(lambda seed: leave(address, seed), range(COUNT)))
        (runtime,) = runtimes
        (resident,) = runtime.keeper.residents
        assert resident.worker is not None
        deadline = time.monotonic() + 30
        while resident.busy or resident.waiting or resident.worker.open:
            assert time.monotonic() < deadline, (resident.busy, resident.waiting, resident.worker.open)
            time.sleep(0.05)
        # Nearly all cells and a seat: this would not fit beside anything that was left behind.
        body = {"messages": [{"role": "user", "content": "x" * 400}], "max_tokens": 50}
        answer = httpx.post(f"{base}/v1/chat/completions", json=body, timeout=30)
        assert answer.status_code == 200, answer.text
        assert answer.json()["choices"][0]["message"]["content"] == TALE[:50]
        assert runtime.readiness.state == "ready"
