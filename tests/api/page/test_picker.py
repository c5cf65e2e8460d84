"""The page's models: what is here, what could be, and getting it."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from edgechat.api.downloads import Downloads
from edgechat.hub.store import Store
from tests.api.conftest import serving
from tests.conftest import FakeModel
from tests.scripts import publish

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


def until(client: httpx.Client, seen: Callable[[dict[str, dict[str, Any]]], Any]) -> dict[str, dict[str, Any]]:
    deadline = time.monotonic() + 10
    while not seen(found := rows(client)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def test_what_a_newcomer_chooses_by_is_told(client: httpx.Client) -> None:
    row = rows(client)["qwen1.5-0.5b-chat"]
    assert (row["quantisation"], row["languages"], row["commercial"]) == ("Q4_K_M", ["en", "zh"], False)
    assert row["ram"] > row["size"]


def test_how_a_download_failed_is_not_told_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async def life() -> None:
        downloads = Downloads(None)  # type: ignore[arg-type]  # nothing is fetched
        downloads._failures["m"] = "no network", asyncio.get_running_loop().time()
        assert downloads.failures == {"m": "no network"}
        monkeypatch.setattr("edgechat.api.downloads.TOLD_S", 0.0)
        assert downloads.failures == {}

    asyncio.run(life())


def test_a_download_that_fails_says_why(fake_model: FakeModel, tmp_path: Path) -> None:
    with (
        serving(fake_model(), tmp_path / "home", offline=True) as base,
        httpx.Client(base_url=base, timeout=10) as client,
    ):
        assert client.post("/api/models/qwen1.5-0.5b-chat/download", json={}).status_code == 202
        row = until(client, lambda found: found["qwen1.5-0.5b-chat"]["why"])["qwen1.5-0.5b-chat"]
        assert row["state"] == "available"
        assert "offline" in row["why"].lower()


@pytest.mark.parametrize(
    ("name", "status"),
    [("nothing", 404), ("%2Fetc%2Fpasswd", 400), ("~%2Fm.gguf", 400), ("ftp:Owner", 400), ("hf:Owner", 400)],
)
def test_neither_paths_nor_names_that_nobody_knows_are_downloaded(client: httpx.Client, name: str, status: int) -> None:
    answer = client.post(f"/api/models/{name}/download", json={})
    assert answer.status_code == status
    assert answer.json()["error"]["param"] == "name"


def test_any_reference_is_fetched_and_told_as_it_was_named(fake_model: FakeModel, tmp_path: Path) -> None:
    """How it failed is told, until it is dismissed."""
    reference = "hf:Owner/Name-GGUF:name-q4_k_m.gguf"
    address = f"/api/models/{quote(reference, safe='')}/download"
    with (
        serving(fake_model(), tmp_path / "home", offline=True) as base,
        httpx.Client(base_url=base, timeout=10) as client,
    ):
        assert client.post(address, json={}).status_code == 202
        row = until(client, lambda found: found.get(reference, {}).get("why"))[reference]
        assert row["state"] == "available"
        assert client.delete(address, headers=JSON).status_code == 204
        assert reference not in rows(client)


def test_a_model_is_removed_but_not_the_one_that_answers(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for name in ("mine", "other"):
        publish(Store(home), name)
    with serving(Path("mine"), home) as base, httpx.Client(base_url=base, timeout=10) as client:
        found = rows(client)
        assert found["other"]["removable"] is True
        assert found["mine"]["removable"] is False
        assert client.delete("/api/models/mine", headers=JSON).status_code == 400
        assert client.delete("/api/models/other", headers=JSON).status_code == 204
        assert "other" not in rows(client)
        assert client.delete("/api/models/other", headers=JSON).status_code == 404


def test_cancelling_nothing_is_no_error(client: httpx.Client) -> None:
    assert client.delete("/api/models/qwen1.5-0.5b-chat/download", headers=JSON).status_code == 204
