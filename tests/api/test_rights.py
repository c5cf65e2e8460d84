"""Rights belong to the operation: what a key may not use, it does not load, count with or evict by any route."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgechat.hub.store import Store
from edgechat.keys import Keys
from edgechat.runtime import Runtime
from edgechat.settings import Settings
from edgechat.types import Limits
from tests.api.conftest import serving
from tests.scripts import publish

HI = [{"role": "user", "content": "hi"}]
# Every way to name a model, by route; runs have a test of their own.
ASKING: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": HI},
    "/v1/completions": {"prompt": "hi"},
    "/v1/responses": {"input": "hi"},
    "/v1/embeddings": {"input": "hi"},
    "/v1/messages": {"messages": HI},
    "/v1/messages/count_tokens": {"messages": HI},
    "/tokenize": {"content": "hi"},
    "/detokenize": {"tokens": [1]},
    "/api/show": {},
    "/api/chat": {"messages": HI, "keep_alive": 0},
    "/api/generate": {"prompt": "hi", "keep_alive": -1},
}


class Limited:
    """A server with two models, and a key that may use the default one only."""

    def __init__(self, base: str, runtime: Runtime, key: str, operator: str) -> None:
        self.runtime = runtime
        self.client = httpx.Client(base_url=base, headers={"x-api-key": key}, timeout=20)
        self.operator = httpx.Client(base_url=base, headers={"x-api-key": operator}, timeout=20)

    def stay(self, model: str) -> float | None:
        """How long `model` stays without being asked; None where it is not in memory."""
        resident = self.runtime.keeper.resident(model)
        return resident.keep if resident and not resident.leaving else None


@pytest.fixture
def limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Limited]:
    runtimes: list[Runtime] = []

    def made(settings: Settings) -> Runtime:
        runtimes.append(Runtime(settings))
        return runtimes[-1]

    monkeypatch.setattr("tests.api.conftest.Runtime", made)
    home = tmp_path / "home"
    for name in ("mine", "other"):
        publish(Store(home), name)
    keys = Keys(home / "keys.json")
    key, operator = keys.add("user", False, ("mine",), Limits())[1], keys.add("op", True, (), Limits())[1]
    with serving(Path("mine"), home) as base:
        found = Limited(base, runtimes[0], key, operator)
        with found.client, found.operator:
            yield found


def test_no_route_loads_a_model_for_a_key_that_may_not_use_it(limited: Limited) -> None:
    for path, body in ASKING.items():
        refused = limited.client.post(path, json=body | {"model": "other"})
        assert refused.status_code == 404, path
        assert "this key does not use 'other'; it uses mine." in refused.text, path
    for refused in (limited.client.post("/api/models/other/load", json={}), limited.client.get("/v1/models/other")):
        assert refused.json()["error"]["code"] == "model_not_found"
    assert limited.stay("other") is None
    for path, body in ASKING.items():
        asked = limited.client.post(path, json=body | {"model": "mine"})
        assert asked.status_code == 200 or path == "/v1/embeddings", asked.text


def test_no_run_does_either(limited: Limited) -> None:
    run = limited.client.post("/api/runs", json={"content": "hi", "model": "other"}).json()["run_id"]
    assert "this key does not use 'other'" in limited.client.get(f"/api/runs/{run}/events").text
    assert limited.stay("other") is None


def test_a_key_is_shown_what_it_may_use(limited: Limited) -> None:
    def shown(client: httpx.Client) -> list[list[str]]:
        openai, tags = client.get("/v1/models").json()["data"], client.get("/api/tags").json()["models"]
        page = client.get("/api/models").json()["models"]
        here = [row["name"] for row in page if row["state"] != "available"]
        return [[one["id"] for one in openai], [one["name"] for one in tags], here]

    assert shown(limited.client) == [["mine"]] * 3
    assert shown(limited.operator) == [["mine", "other"]] * 3
    refused = limited.client.post("/tokenize", json={"content": "hi", "model": "nowhere"}).json()
    assert refused["error"]["message"] == "no model 'nowhere' is here; there is mine."


@pytest.mark.parametrize(("path", "question"), [("/api/chat", {"messages": HI}), ("/api/generate", {"prompt": "hi"})])
def test_only_an_operator_says_how_long_a_model_stays(limited: Limited, path: str, question: dict[str, Any]) -> None:
    usual = limited.stay("mine")
    refused = limited.client.post(path, json={"keep_alive": 0})
    assert (refused.status_code, refused.json()["code"]) == (403, "operator_only")
    told = limited.client.post(path, json={"keep_alive": "5s"}).json()
    assert (told["done_reason"], told["edgechat"]) == ("load", {"ignored": ["keep_alive"]})
    for stream in (False, True):
        answer = limited.client.post(path, json=question | {"keep_alive": 0, "stream": stream}).text
        assert json.loads(answer.splitlines()[-1])["edgechat"]["ignored"] == ["keep_alive"]
    assert limited.stay("mine") == usual
    answer = limited.operator.post(path, json=question | {"keep_alive": "5s"}).text
    assert json.loads(answer.splitlines()[-1])["edgechat"]["ignored"] == []
    assert limited.stay("mine") == 5
    assert limited.operator.post(path, json={"keep_alive": 0}).json()["done_reason"] == "unload"
    assert limited.stay("mine") is None
    answer = limited.operator.post(path, json=question | {"keep_alive": 0}).text
    assert json.loads(answer.splitlines()[-1])["done"]
    assert limited.stay("mine") is None  # it answered first


def test_who_forgets_to_say_who_asks_finds_no_model(tmp_path: Path) -> None:
    """mypy holds it: where this call type-checked, the comment on it would be an error."""
    runtime = Runtime(Settings(engine="fake", model="x", home=tmp_path))
    with pytest.raises(TypeError, match="caller"):
        runtime.find("x")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="caller"):
        runtime.models()  # type: ignore[call-arg]
