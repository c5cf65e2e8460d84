"""Every member of Ollama's reference is there, in the types that Go and Rust clients read; pulling and removing."""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest

from edgechat.hub.store import Store
from edgechat.keys import Keys
from edgechat.types import Limits
from tests.api.conftest import serving
from tests.conftest import FakeModel
from tests.scripts import publish

DETAILS = {"parent_model", "format", "family", "families", "parameter_size", "quantization_level"}


@pytest.fixture
def shop(fake_model: FakeModel, tmp_path: Path) -> Iterator[httpx.Client]:
    """A server with a default and another model on disk, whose catalog can reach nothing."""
    home = tmp_path / "home"
    publish(Store(home), "north")
    with (
        serving(fake_model(reply="default"), home, offline=True) as base,
        httpx.Client(base_url=base, timeout=30) as client,
    ):
        yield client


def test_a_listed_model_has_every_member_of_the_reference(client: httpx.Client) -> None:
    (model,) = client.get("/api/tags").json()["models"]
    assert {"name", "model", "modified_at", "size", "digest", "details"} <= set(model)
    assert type(model["size"]) is int
    assert model["size"] > 0
    assert set(model["details"]) == DETAILS
    assert model["details"]["families"] == [model["details"]["family"]] == ["fake"]
    assert datetime.fromisoformat(model["modified_at"]).tzinfo


def test_a_running_model_says_when_it_goes(shop: httpx.Client) -> None:
    (default,) = shop.get("/api/ps").json()["models"]
    assert datetime.fromisoformat(default["expires_at"]).year > 2300
    assert (default["size_vram"], default["context_length"], set(default["details"])) == (0, 4096, DETAILS)
    shop.post("/api/generate", json={"model": "north", "keep_alive": "1h0m0s"})
    goes = {one["name"]: datetime.fromisoformat(one["expires_at"]) for one in shop.get("/api/ps").json()["models"]}
    assert 3500 < goes["north"].timestamp() - time.time() <= 3600


@pytest.mark.parametrize("spelled", ["model", "name"])
def test_a_model_is_shown_with_its_architecture(client: httpx.Client, spelled: str) -> None:
    (model,) = client.get("/api/tags").json()["models"]
    shown = client.post("/api/show", json={spelled: model["name"]}).json()
    info, family = shown["model_info"], shown["details"]["family"]
    assert info["general.architecture"] == family
    assert info[f"{family}.context_length"] == 4096
    assert {"general.basename", "general.parameter_count"} <= set(info)
    assert {"completion", "tools"} <= set(shown["capabilities"])
    assert all(isinstance(shown[name], str) for name in ("license", "modelfile", "parameters", "template"))
    assert "temperature 0.7" in shown["parameters"].splitlines()


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/api/show", {"model": "nothing"}, 404),
        ("POST", "/api/create", {"model": "x"}, 404),
        ("GET", "/api/blobs/sha256:1", None, 404),
        ("GET", "/api/embed", None, 405),
        ("POST", "/api/embed", {"input": "x"}, 400),
        ("POST", "/api/chat", [], 400),
        ("POST", "/api/pull", {"model": "nothing"}, 404),
        ("POST", "/api/pull", {"model": "modelscope:Owner/Name"}, 404),
        ("POST", "/api/pull", {"model": "/etc/passwd"}, 404),
        ("POST", "/api/pull", {"model": "qwen1.5-0.5b-chat", "insecure": True}, 400),
        ("DELETE", "/api/delete", {"model": "nothing"}, 404),
        ("DELETE", "/api/delete", {"model": "../../x"}, 404),
    ],
)
def test_errors_are_texts_whatever_the_status(
    client: httpx.Client, method: str, path: str, body: Any, status: int
) -> None:
    refused = client.request(method, path, json=body)
    assert (refused.status_code, type(refused.json()["error"])) == (status, str)


def test_a_pull_says_how_it_ends(shop: httpx.Client) -> None:
    lines = shop.post("/api/pull", json={"model": "qwen1.5-0.5b-chat"}).text.splitlines()
    first, last = json.loads(lines[0]), json.loads(lines[-1])
    assert first == {"status": "pulling manifest"}
    assert "OFFLINE" in last["error"]
    whole = shop.post("/api/pull", json={"name": "qwen1.5-0.5b-chat:latest", "stream": False})
    assert (whole.status_code, "OFFLINE" in whole.json()["error"]) == (502, True)


def test_a_removed_model_is_gone(shop: httpx.Client) -> None:
    assert shop.post("/api/generate", json={"model": "north", "prompt": "hi"}).status_code == 200
    assert shop.request("DELETE", "/api/delete", json={"model": "north"}).json()["status"] == "success"
    assert [one["name"] for one in shop.get("/api/tags").json()["models"]] == ["fake.json"]
    assert shop.post("/api/generate", json={"model": "north", "prompt": "hi"}).status_code == 404


def test_only_operators_change_what_is_on_disk(fake_model: FakeModel, tmp_path: Path) -> None:
    home = tmp_path / "home"
    publish(Store(home), "north")
    _, key = Keys(home / "keys.json").add("user", False, (), Limits())
    with (
        serving(fake_model(), home) as base,
        httpx.Client(base_url=base, headers={"Authorization": f"Bearer {key}"}) as user,
    ):
        for method, path in (("POST", "/api/pull"), ("DELETE", "/api/delete")):
            refused = user.request(method, path, json={"model": "north"})
            assert (refused.status_code, type(refused.json()["error"])) == (403, str)
        assert "north" in user.get("/api/tags").text


def test_the_official_client_reads_them(shop: httpx.Client) -> None:
    with closing(ollama.Client(host=str(shop.base_url))) as official:
        assert [one.model for one in official.list().models] == ["fake.json", "north"]
        assert official.ps().models[0].context_length == 4096
        assert official.show("north").modelinfo
        with pytest.raises(ollama.ResponseError, match="OFFLINE"):
            list(official.pull("qwen1.5-0.5b-chat", stream=True))
        assert official.delete("north").status == "success"
