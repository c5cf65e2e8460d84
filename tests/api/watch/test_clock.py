"""The wall clock is set anew under a running server: waits are measured by a clock that only goes on."""

import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgechat.keys import Keys
from edgechat.types import Limits
from tests.api.conftest import serving

HOUR = 3600.0
NOW = time.time()
REAL = time.time
JUMPS = (HOUR, -HOUR, 60.0 - NOW, 4_102_444_800.0 - NOW)  # the last two: to 1970, to 2100


def test_a_jump_of_the_clock_costs_nobody_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fake.json").write_text('{"step_ms": 1}')
    limits: dict[str, Any] = {"requests_per_minute": 30, "tokens_per_minute": 100_000}
    with serving(tmp_path / "fake.json", tmp_path / "home", **limits) as base:
        _, secret = Keys(tmp_path / "home" / "keys.json").add("somebody", True, (), Limits())
        with httpx.Client(base_url=base, timeout=30, headers={"x-api-key": secret}) as client:
            for jump in JUMPS:
                survives(client, secret, jump, monkeypatch)
            sums = re.findall(r"_seconds_sum(?:\{.*\})? (\S+)", client.get("/metrics").text)
    assert sums
    assert all(0 <= float(value) < HOUR for value in sums), "a wait is as long as it was"


def survives(client: httpx.Client, secret: str, jump: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers, order, limits and logins hold when the clock jumps in the middle of an answer."""
    first = client.post("/api/runs", json={"content": "before"}).json()
    read(client, first["run_id"])
    ask = {"messages": [{"role": "user", "content": "x" * 300}], "stream": True, "max_tokens": 300}
    with client.stream("POST", "/v1/chat/completions", json=ask) as answer:
        pieces = answer.iter_text()
        next(pieces)
        monkeypatch.setattr(time, "time", lambda: REAL() + jump)
        assert "[DONE]" in "".join(pieces)
    parent = messages(client, first["conversation_id"])[-1]["id"]
    more = {"conversation_id": first["conversation_id"], "parent_id": parent, "content": "after"}
    read(client, client.post("/api/runs", json=more).json()["run_id"])
    told = messages(client, first["conversation_id"])
    assert [message["role"] for message in told] == ["user", "assistant"] * 2
    assert [message["seq"] for message in told] == [1, 2, 3, 4]
    assert {message["status"] for message in told} == {"complete"}
    assert client.post("/v1/chat/completions", json=ask | {"stream": False}).status_code == 200
    cookie = httpx.post(f"{client.base_url}/api/login", json={"key": secret}).headers["set-cookie"].split(";")[0]
    assert httpx.get(f"{client.base_url}/v1/models", headers={"Cookie": cookie}).status_code == 200


def read(client: httpx.Client, run: str) -> None:
    """Wait for the end of a run."""
    with client.stream("GET", f"/api/runs/{run}/events") as events:
        assert "event: done" in list(events.iter_lines())


def messages(client: httpx.Client, conversation: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(f"/api/conversations/{conversation}").json()["messages"]
    return found
