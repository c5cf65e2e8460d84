"""Limits per client: held, told politely, and counted where Prometheus looks."""

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgechat.api.watch.desk import limits_of
from edgechat.keys import Keys
from edgechat.settings import Settings
from edgechat.types import Limits
from tests.api.conftest import serving


@pytest.fixture
def base(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "fake.json").write_text("{}")
    limits: dict[str, Any] = {"requests_per_minute": 3, "tokens_per_minute": 100_000, "max_tokens": 50}
    with serving(tmp_path / "fake.json", tmp_path / "home", **limits) as base:
        yield base


def ask(base: str, key: str = "", **more: object) -> httpx.Response:
    body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 5, **more}
    return httpx.post(f"{base}/v1/chat/completions", json=body, headers={"x-api-key": key} if key else {}, timeout=20)


def test_one_answer_too_many_hears_when_to_come_back(base: str) -> None:
    assert [ask(base).status_code for _ in range(3)] == [200] * 3
    refused = ask(base)
    assert refused.status_code == 429
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert 0 < int(refused.headers["retry-after"]) <= 61
    metrics = httpx.get(f"{base}/metrics").text
    assert 'answers_refused_total{code="limit_reached"} 1.0' in metrics
    assert "requests_running 0.0" in metrics
    assert "requests_waiting 0.0" in metrics
    assert 'http_requests_total{code="429"} 1.0' in metrics


def test_an_answer_longer_than_the_cap_is_refused_by_name(base: str) -> None:
    refused = ask(base, max_tokens=51)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "max_tokens")


def test_a_key_has_its_own_limits_models_and_account(base: str, tmp_path: Path) -> None:
    keys = Keys(tmp_path / "home" / "keys.json")
    once = keys.add("once", False, (), Limits(requests_per_minute=1))[1]
    spent = keys.add("spent", False, (), Limits(tokens_per_day=1))[1]
    other = keys.add("other", False, ("no-such-model",), Limits())[1]
    assert [ask(base, once).status_code for _ in range(2)] == [200, 429]
    assert [ask(base, spent).status_code for _ in range(2)] == [200, 429]
    assert ask(base, other).status_code == 404


def test_so_many_answers_at_a_time_are_no_more_when_all_come_at_once(tmp_path: Path) -> None:
    script = {"reply": "x" * 1000, "step_ms": 20}
    (tmp_path / "fake.json").write_text(json.dumps(script))
    with serving(tmp_path / "fake.json", tmp_path / "home", streams=2) as base, ThreadPoolExecutor(6) as crowd:
        answers = list(crowd.map(lambda _: ask(base, max_tokens=150, guards={"loop": False}), range(6)))
        assert sorted(answer.status_code for answer in answers) == [200] * 2 + [429] * 4
        assert "2 answers at a time" in next(one.text for one in answers if one.status_code == 429)
        assert ask(base).status_code == 200


def test_one_key_does_not_fill_the_queue() -> None:
    settings = Settings(queue=10)
    assert limits_of(settings, Limits()).streams == 5
    assert limits_of(settings, None).streams == 0
    assert limits_of(Settings(streams=7), Limits()).streams == 7
    assert limits_of(settings, Limits(streams=0)).streams == 0


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    """The address of a Redis of our own, which keeps nothing."""
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    pytest.importorskip("redis", reason="redis is not installed: pip install 'edgechat[redis]'")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    flags = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen([server, *flags], stdout=subprocess.DEVNULL) as process:
        try:
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()


def test_two_servers_share_their_counts_and_go_on_without(tmp_path: Path, redis: str) -> None:
    (tmp_path / "fake.json").write_text("{}")
    limits: dict[str, Any] = {"requests_per_minute": 2, "limits_storage": redis}
    with (
        serving(tmp_path / "fake.json", tmp_path / "one", **limits) as one,
        serving(tmp_path / "fake.json", tmp_path / "two", **limits) as two,
    ):
        assert [ask(base).status_code for base in (one, two, one, two)] == [200, 200, 429, 429]


def test_a_redis_that_is_away_stops_nobody(tmp_path: Path) -> None:
    pytest.importorskip("redis", reason="redis is not installed: pip install 'edgechat[redis]'")
    (tmp_path / "fake.json").write_text("{}")
    with serving(
        tmp_path / "fake.json", tmp_path / "home", requests_per_minute=1, limits_storage="redis://127.0.0.1:9"
    ) as base:
        assert [ask(base).status_code for _ in range(2)] == [200, 200]
