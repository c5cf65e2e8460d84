import asyncio

import pytest

from edgechat.bench import run
from edgechat.bench.client import Address, Client, Unmeasured, address
from edgechat.bench.probes import PROBES, Figure, Probe
from edgechat.bench.run import Outcome, measure
from tests.bench.conftest import Serve
from tests.bench.scripted import Script


def addresses(*urls: str) -> list[Address]:
    return [address(label, url) for label, url in zip("ABC", urls, strict=False)]


def stub(monkeypatch: pytest.MonkeyPatch, outcome: float | Exception | None, pair: bool = False) -> None:
    async def probe(here: Client, *others: Client) -> dict[str, float]:
        assert len(others) == pair
        if isinstance(outcome, Exception):
            raise outcome
        if outcome is None:
            await asyncio.sleep(60)
        assert isinstance(outcome, float)
        return {"size": outcome}

    monkeypatch.setitem(PROBES, "stub", Probe("a stub", probe, {"size": Figure("size", "ms")}, pair=pair))


async def test_addresses_take_turns(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    stub(monkeypatch, 1.0)
    told: list[str] = []
    measured = await measure(addresses(serve(Script()), serve(Script())), ["stub"], 3, tell=told.append)
    assert [(one.label, one.run) for one in measured.outcomes] == [(x, n) for n in (1, 2, 3) for x in "AB"]
    assert told[:3] == ["greeting A", "greeting B", "stub: run 1 of 3 at A"]
    assert len(measured.busy) == 6
    assert measured.models == {"A": "scripted", "B": "scripted"}


async def test_what_cannot_be_run_is_skipped_with_its_reason(serve: Serve) -> None:
    url = serve(Script())
    measured = await measure(addresses(url), ["restart", "two"], 2)
    assert [one.skipped for one in measured.outcomes] == [
        "needs --restart with the command that restarts the server",
        "takes exactly two addresses",
    ]


async def test_a_pair_gets_the_other_address(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    stub(monkeypatch, 1.0, pair=True)
    url = serve(Script())
    measured = await measure(addresses(url, url), ["stub"], 1)  # an address may be compared with itself
    assert [one.figures for one in measured.outcomes] == [{"size": 1.0}] * 2


async def test_an_address_that_does_not_answer_is_asked_once(serve: Serve) -> None:
    script = Script(refuse={0: 401})
    measured = await measure(addresses(serve(script), serve(Script())), ["single", "two"], 2)
    found = [(one.probe, one.label, one.run, one.failed) for one in measured.outcomes]
    refused = "HTTP 401: come back later"
    assert found == [
        ("single", "A", 0, refused),
        ("single", "B", 1, None),
        ("single", "B", 2, None),
        ("two", "A", 0, refused),
        ("two", "B", 0, refused),
    ]
    assert len(script.bodies) == 1


async def test_a_run_that_fails_does_not_end_the_others(serve: Serve) -> None:
    measured = await measure(addresses(serve(Script(refuse={1: 500}))), ["single"], 2)
    first, second = measured.outcomes
    assert first == Outcome("single", "A", 1, failed="HTTP 500: come back later")
    assert second.figures


async def test_a_probe_has_a_budget(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "PROBE_S", 0.1)
    stub(monkeypatch, None)
    measured = await measure(addresses(serve(Script())), ["stub"], 1)
    assert measured.outcomes[0].failed == "no figure within 0 s"


async def test_a_probe_that_gives_up_says_why(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    stub(monkeypatch, Unmeasured("the moon is wrong"))
    measured = await measure(addresses(serve(Script())), ["stub"], 1)
    assert measured.outcomes[0].failed == "the moon is wrong"
