"""Scripted servers, and probes that do not dawdle."""

from collections.abc import Callable, Iterator

import pytest

from edgechat.bench import alone, company, restart, run
from tests.bench.scripted import Script, Scripted, Serving

Serve = Callable[[Script], str]


@pytest.fixture(scope="package")
def servers() -> Iterator[list[Serving]]:
    """Servers that are up already, for whoever needs one next."""
    started: list[Serving] = []
    yield started
    for server in started:
        server.stop()


@pytest.fixture
def serve(servers: list[Serving]) -> Serve:
    """Has a server follow a script, and gives its address."""
    free = list(servers)

    def serve(script: Script) -> str:
        if not free:
            servers.append(Serving(script))
            return servers[-1].url
        server = free.pop()
        server.scripted = Scripted(script)
        return server.url

    return serve


@pytest.fixture(autouse=True)
def _small_and_without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, tokens in {"ANSWER": 48, "TOGETHER": 96, "USER": 32, "FLOODED": 40, "LIGHT": 16}.items():
        monkeypatch.setattr(company, name, tokens)
    monkeypatch.setattr(alone, "ANSWER", 48)
    monkeypatch.setattr(alone, "SENTENCE", 12)
    monkeypatch.setattr(run, "SETTLE_S", 0.0)
    monkeypatch.setattr(restart, "IDLE_S", 0.0)
    monkeypatch.setattr(restart, "AGAIN_S", 0.02)
