"""What Prometheus finds: every name it was promised, in a number of series that no client can raise."""

import json
import os
import random
import string
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edgechat.api.watch import metrics
from edgechat.observe.logs import Sink
from tests.api.conftest import serving

MODELS = 10_000 if os.environ.get("EDGECHAT_TORTURE") else 200
PROMISED = {
    *("requests_running", "requests_waiting", "prompt_tokens", "generation_tokens", "time_to_first_token_seconds"),
    *("time_per_output_token_seconds", "queue_seconds", "kv_cache_usage_ratio", "prefix_cache_hits", "model_loaded"),
    *("process_resident_memory_bytes", "system_memory_available_bytes", "cpu_temperature_celsius", "http_requests"),
    *("log_lines_dropped", "answers_failed", "answers_refused"),
}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[httpx.Client]:
    (tmp_path / "fake.json").write_text(json.dumps({}))
    with serving(tmp_path / "fake.json", tmp_path / "home") as base, httpx.Client(base_url=base, timeout=20) as client:
        yield client


def series(client: httpx.Client) -> set[tuple[str, str]]:
    """Name and labels of each."""
    found = text_string_to_metric_families(client.get("/metrics").text)
    return {(sample.name, str(sorted(sample.labels.items()))) for family in found for sample in family.samples}


def test_every_promised_name_is_there(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "temperature", lambda: 51.5)
    client.post("/chat", json={"input": "x"})
    found = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").text)}
    assert set(found) >= PROMISED
    assert [sample.value for sample in found["cpu_temperature_celsius"].samples] == [51.5]
    assert {sample.labels["model"] for sample in found["model_loaded"].samples} == {"fake.json"}
    assert {sample.labels["code"] for sample in found["http_requests"].samples} >= {"200"}
    assert all(family.documentation for family in found.values())


def test_no_name_that_a_client_invents_becomes_a_series(client: httpx.Client) -> None:
    ask = {"messages": [{"role": "user", "content": "x"}], "user": "x"}
    for model in ("no-such-model", ""):
        client.post("/v1/chat/completions", json=ask | {"model": model})
    before = series(client)
    names = random.Random(7)
    for _ in range(MODELS):
        model = "".join(names.choices(string.printable, k=names.randint(1, 60)))
        client.post("/v1/chat/completions", json=ask | {"model": model, "user": model})
    print(f"{MODELS} invented names of models: {len(before)} series before and after")
    assert series(client) == before


def test_lines_that_the_log_lost_are_counted(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sink, "dropped", 7)
    assert "log_lines_dropped_total 7.0" in client.get("/metrics").text
