"""The log of a real server: what an operator greps for, and what happens when it cannot be written."""

import json
import stat
from pathlib import Path

import httpx

from tests.conftest import FakeModel
from tests.e2e.conftest import serve


def test_an_answers_line_carries_the_id_that_the_client_got(fake_model: FakeModel, tmp_path: Path) -> None:
    log = tmp_path / "log" / "edgechat.log"
    around = {"EDGECHAT_LOG_FORMAT": "json", "EDGECHAT_LOG_FILE": str(log)}
    with serve("--engine", "fake", "--model", str(fake_model(reply="Hello.")), **around) as server:
        answer = httpx.post(f"{server.ready()}/chat", json={"input": "the heron"})
        assert answer.status_code == 200
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    (answered,) = [line for line in lines if line["event"] == "answered"]
    assert answered["request_id"] == answer.headers["x-request-id"]
    assert answered["timestamp"].endswith("Z")
    assert answered["level"] == "info"
    assert "heron" not in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_full_log_disk_costs_lines_and_they_are_counted(fake_model: FakeModel) -> None:
    with serve("--engine", "fake", "--model", str(fake_model()), EDGECHAT_LOG_FILE="/dev/full") as server:
        url = server.ready()
        for _ in range(3):
            assert httpx.post(f"{url}/chat", json={"input": "x"}).status_code == 200
        (lost,) = [
            line for line in httpx.get(f"{url}/metrics").text.splitlines() if line.startswith("log_lines_dropped_total")
        ]
        assert float(lost.split()[1]) >= 3
        assert httpx.get(f"{url}/api/dash/status").json()["log_lines_dropped"] >= 3
    assert server.process.returncode == 0
