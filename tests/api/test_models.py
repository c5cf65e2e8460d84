"""Several models behind one address."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from edgechat.hub.store import Store
from tests import ggufs
from tests.api.conftest import serving
from tests.conftest import FakeModel
from tests.scripts import publish


@pytest.fixture
def shop(fake_model: FakeModel, tmp_path: Path) -> Iterator[httpx.Client]:
    """A server with a default and two models on disk."""
    home = tmp_path / "home"
    publish(Store(home), "north", load_ms=100, context=1000)
    publish(Store(home), "south")
    aliases = {"gpt-4o": "south", "lost": "nowhere"}
    with serving(fake_model(reply="default"), home, aliases=aliases) as base, httpx.Client(base_url=base) as client:
        yield client


def ask(client: httpx.Client, model: str | None, **more: object) -> httpx.Response:
    body = {"messages": [{"role": "user", "content": "hello"}], "model": model} | more
    return client.post("/v1/chat/completions", json=body, timeout=30)


def test_the_list_has_the_default_first_and_everything_that_can_be_asked_for(shop: httpx.Client) -> None:
    found = {one["id"]: one for one in shop.get("/v1/models").json()["data"]}
    assert list(found) == ["fake.json", "north", "south", "gpt-4o"]
    assert found["north"]["context_window"] == 1000
    for name in found:
        assert shop.get(f"/v1/models/{name}").json() == found[name]
        assert ask(shop, name).status_code == 200
    assert shop.get("/v1/models/lost").status_code == 404


def test_each_answers_as_itself_and_its_name_is_in_the_answer(shop: httpx.Client) -> None:
    for name, real in [(None, "fake.json"), ("north", "north"), ("gpt-4o", "south")]:
        answer = ask(shop, name).json()
        assert answer["model"] == real
        assert answer["choices"][0]["message"]["content"] == ("default" if name is None else real)


def test_the_first_use_streams_how_the_load_goes(shop: httpx.Client, tmp_path: Path) -> None:
    publish(Store(tmp_path / "home"), "slow", load_ms=5000)  # a comment waits for a second of silence
    text = ask(shop, "slow", stream=True).text
    assert ": loading weights 50%\n" in text
    assert text.rstrip().endswith("data: [DONE]")
    assert ": loading" not in ask(shop, "slow", stream=True).text


def test_a_model_that_cannot_be_loaded_is_an_error_and_the_others_answer(fake_model: FakeModel, tmp_path: Path) -> None:
    home = tmp_path / "home"
    publish(Store(home), "giant", memory=10**10)
    publish(Store(home), "fails", load_ms=50, load_fails=True)
    bad = publish(Store(home), "bad")
    bad.path.chmod(0o644)
    bad.path.write_text("x" * bad.size)
    with serving(fake_model(reply="default"), home, memory="1GB") as base, httpx.Client(base_url=base) as client:
        refused = ask(client, "giant")
        assert refused.status_code == 503
        assert "it takes 10000000000" in refused.json()["error"]["message"]
        assert ask(client, "bad").status_code == 503
        assert [one["id"] for one in client.get("/v1/models").json()["data"]] == ["fake.json", "fails", "giant"]
        *_, last = ask(client, "fails", stream=True).text.strip().splitlines()
        assert "as its script says" in json.loads(last.removeprefix("data: "))["error"]["message"]
        assert ask(client, None).json()["choices"][0]["message"]["content"] == "default"
        assert client.get("/readyz").status_code == 200


def test_a_kind_of_model_that_is_not_served_is_named_where_one_looks(tmp_path: Path) -> None:
    """Whoever asks for it by name hears the same as whoever looks why the server does not answer."""
    model = ggufs.write(tmp_path / "hybrid.gguf", ggufs.unserved())
    with serving(model, tmp_path / "home", engine="llama_cpp") as base, httpx.Client(base_url=base) as client:
        readiness = client.get("/readyz").json()
        assert readiness["state"] == "failed"
        assert "models of architecture rwkv7 are not served" in readiness["why"]
        error = ask(client, "hybrid").json()["error"]
        assert (error["code"], error["message"]) == ("model_unsupported", readiness["why"])
