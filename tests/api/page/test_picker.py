"""The page's models: what is here, what could be, and getting it."""

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.conftest import serving
from tests.conftest import FakeModel

JSON = {"Content-Type": "application/json"}


def rows(client: httpx.Client) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in client.get("/api/models").json()["models"]}


def test_what_is_here_and_what_could_be(client: httpx.Client) -> None:
    found, served = rows(client), client.get("/readyz").json()["model"]
    assert found[served]["state"] == "loaded"
    assert found[served]["size"] > 0
    assert found["qwen1.5-0.5b-chat"]["state"] == "available"
    assert found["qwen1.5-0.5b-chat"]["licence"]


def test_a_loaded_model_can_be_asked_for_again(client: httpx.Client) -> None:
    served = client.get("/readyz").json()["model"]
    assert client.post(f"/api/models/{served}/load", json={}).status_code == 202
    assert client.post("/api/models/nothing/load", json={}).status_code == 404


def test_a_download_that_fails_says_why(fake_model: FakeModel, tmp_path: Path) -> None:
    with (
        serving(fake_model(), tmp_path / "home", offline=True) as base,
        httpx.Client(base_url=base, timeout=10) as client,
    ):
        assert client.post("/api/models/qwen1.5-0.5b-chat/download", json={}).status_code == 202
        deadline = time.monotonic() + 10
        while not (row := rows(client)["qwen1.5-0.5b-chat"])["why"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert row["state"] == "available"
        assert "offline" in row["why"].lower()


@pytest.mark.parametrize("name", ["nothing", "modelscope:Owner/Name", "../../etc/passwd"])
def test_only_the_catalog_is_downloaded(client: httpx.Client, name: str) -> None:
    answer = client.post(f"/api/models/{name}/download", json={})
    assert answer.status_code == 404


def test_cancelling_nothing_is_no_error(client: httpx.Client) -> None:
    assert client.delete("/api/models/qwen1.5-0.5b-chat/download", headers=JSON).status_code == 204
