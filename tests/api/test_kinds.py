"""A second kind of model, trivial as it is, has every dialect, right, limit and figure that a local one has."""

from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgechat.errors import NotReady
from edgechat.hub.store import Store
from edgechat.keys import Keys
from edgechat.runtime import Runtime
from edgechat.settings import Settings
from edgechat.types import (
    Answered,
    AnyEvent,
    Delta,
    Detokenize,
    Done,
    Embed,
    GenRequest,
    Limits,
    ModelInfo,
    Read,
    Sampling,
    Served,
    Timing,
    Tokenize,
    Usage,
)
from tests.api.conftest import serving
from tests.scripts import publish

NAME = "remote:parrot"
HI = [{"role": "user", "content": "hi"}]


class Parrot:
    """A `Model` that is nowhere on this machine: it says what it heard."""

    name = NAME
    served = Served(NAME, "", "none", Sampling(), ModelInfo(100, 100, 0, 256, 0, "none", 1, "parrot"), 0)

    def __init__(self) -> None:
        self.asked: list[GenRequest] = []
        self.stay: float | None = None

    async def stream(self, request: GenRequest) -> AsyncGenerator[AnyEvent, None]:
        self.asked.append(request)
        yield Delta(request.messages[-1].text)
        yield Done("stop", "eos", Usage(1, 2), Timing(0, 0, None))

    async def ask(self, question: Tokenize | Read | Detokenize) -> Answered:
        assert isinstance(question, Tokenize)
        return Answered(tuple(question.text.encode()))

    async def embed(self, question: Embed) -> Answered:
        raise NotReady("it has no meaning.")

    async def load(self) -> None:
        pass

    def keep(self, seconds: float) -> None:
        self.stay = seconds


class Parrots:
    """A `Kind` of one."""

    def __init__(self) -> None:
        self.parrot = Parrot()

    def find(self, name: str) -> Parrot | None:
        return self.parrot if name == NAME else None

    def names(self) -> list[str]:
        return [NAME]


@pytest.fixture
def parrots() -> Parrots:
    return Parrots()


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parrots: Parrots) -> Iterator[str]:
    def made(settings: Settings) -> Runtime:
        return Runtime(settings, parrots)

    monkeypatch.setattr("tests.api.conftest.Runtime", made)
    publish(Store(tmp_path / "home"), "mine")
    with serving(Path("mine"), tmp_path / "home") as base:
        yield base


def test_every_dialect_speaks_with_it(base: str, parrots: Parrots) -> None:
    with httpx.Client(base_url=base, timeout=20) as client:
        assert [one["id"] for one in client.get("/v1/models").json()["data"]] == ["mine", NAME]
        asked: dict[str, dict[str, Any]] = {
            "/v1/chat/completions": {"messages": HI},
            "/v1/responses": {"input": "hi"},
            "/v1/messages": {"messages": HI},
            "/api/chat": {"messages": HI, "keep_alive": 7},
            "/tokenize": {"content": "hi"},
        }
        for path, body in asked.items():
            for stream in [{"stream": False}, {"stream": True}] if path != "/tokenize" else [{}]:
                answer = client.post(path, json=body | stream | {"model": NAME})
                assert answer.status_code == 200, answer.text
                assert "hi" in answer.text or path == "/tokenize"
        run = client.post("/api/runs", json={"content": "hi", "model": NAME}).json()
        assert 'event: delta\nid: 1\ndata: {"t":"hi"}' in client.get(f"/api/runs/{run['run_id']}/events").text
        assert "generation_tokens_total" in client.get("/metrics").text
    assert parrots.parrot.stay == 7
    assert {one.client for one in parrots.parrot.asked} == {"127.0.0.1/", "127.0.0.1/runs"}


def test_rights_limits_and_realms_hold_for_it(base: str, tmp_path: Path, parrots: Parrots) -> None:
    keys = Keys(tmp_path / "home" / "keys.json")
    mine = keys.add("mine", False, ("mine",), Limits())[1]
    kept, once = keys.add("once", False, (NAME,), Limits(requests_per_minute=1))

    def ask(key: str) -> int:
        body = {"messages": HI, "model": NAME}
        return httpx.post(f"{base}/v1/chat/completions", json=body, headers={"x-api-key": key}, timeout=20).status_code

    assert [ask(mine), ask(once), ask(once)] == [404, 200, 429]
    (asked,) = parrots.parrot.asked
    assert (asked.realm, asked.client) == (kept.id, f"{kept.id}/")
