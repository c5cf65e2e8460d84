"""What a caller's handle does at any moment: sign in and out, and cancel in the worker at once."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from edgechat.errors import LimitReached, OperatorOnly, ShuttingDown
from edgechat.hub.store import Store
from edgechat.models.answers import Answer, Watcher
from edgechat.runtime import Runtime
from edgechat.settings import Settings
from edgechat.types import AnyEvent, Caller, Delta, Done, Failed, GenRequest, Message, Prefill
from tests.conftest import rambling
from tests.scripts import publish

ANN = Caller("ann", "realm")
LONG = GenRequest((Message.of("user", "hello"),), max_tokens=1000, user="u")
TURNS = 400 if os.environ.get("EDGECHAT_TORTURE") else 60  # of the loop, after each of which somebody leaves


class Book(Watcher):
    """Notes what it is told, and refuses where it is told to."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.refuses = False

    async def begin(self, answer: Answer) -> None:
        await asyncio.sleep(0)
        if self.refuses:
            raise LimitReached("no more.")
        self.told.append("begin")

    def speaks(self, answer: Answer) -> None:
        self.told.append(answer.phase)

    async def end(self, answer: Answer) -> None:
        await asyncio.sleep(0)
        self.told.append(f"end {type(answer.ending).__name__}")


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[Runtime]:
    publish(Store(tmp_path), "m", reply=rambling(1000), step_ms=1)
    runtime = Runtime(Settings(home=tmp_path, model="m", engine="fake"))
    runtime.answers.watcher = Book()
    runtime.start()
    try:
        async with asyncio.timeout(60):
            while runtime.readiness.state != "ready":
                await runtime.changed.wait()
        yield runtime
    finally:
        await runtime.stop()


def book(runtime: Runtime) -> list[str]:
    assert isinstance(runtime.answers.watcher, Book)
    return runtime.answers.watcher.told


def is_idle(runtime: Runtime) -> bool:
    (resident,) = runtime.keeper.residents
    return not (runtime.answers.open or resident.busy or resident.worker is None or resident.worker.open)


async def read(runtime: Runtime) -> list[AnyEvent]:
    async with aclosing(runtime.find("m", ANN).stream(LONG)) as events:
        return [event async for event in events]


async def test_each_answer_is_signed_in_and_out_and_seen_once(runtime: Runtime) -> None:
    said = await read(runtime)
    assert isinstance(said[-1], Done)
    assert any(isinstance(event, Prefill) for event in said)
    assert book(runtime) == ["begin", "writing", "end Done"]
    assert is_idle(runtime)


async def test_the_caller_is_written_into_what_is_asked(runtime: Runtime) -> None:
    async with aclosing(runtime.find("m", ANN).stream(LONG)) as events:
        await anext(events)
        (answer,) = runtime.answers.open.values()
        assert (answer.request.client, answer.request.realm) == ("ann/u", "realm")
        assert (answer.caller, answer.model) == (ANN, "m")


async def test_who_leaves_after_any_turn_of_the_loop_leaves_nothing_behind(runtime: Runtime) -> None:
    for turns in range(TURNS):
        reading = asyncio.create_task(read(runtime))
        for _ in range(turns):
            await asyncio.sleep(0 if turns % 2 else 0.001)
        reading.cancel()
        await asyncio.wait({reading})
        assert reading.cancelled() or isinstance(reading.result()[-1], Done)
        assert is_idle(runtime), turns
    told = book(runtime)
    assert told.count("begin") == sum(one.startswith("end") for one in told)
    assert "".join(event.text for event in await read(runtime) if isinstance(event, Delta)) == rambling(1000)


async def test_who_is_refused_leaves_nothing_behind_either(runtime: Runtime) -> None:
    assert isinstance(runtime.answers.watcher, Book)
    runtime.answers.watcher.refuses = True
    with pytest.raises(LimitReached):
        await read(runtime)
    assert (book(runtime), is_idle(runtime)) == ([], True)
    runtime.answers.closed = True
    with pytest.raises(ShuttingDown):
        await read(runtime)


async def test_an_answer_that_the_operator_stops_ends_with_an_error(runtime: Runtime) -> None:
    async with aclosing(runtime.find("m", ANN).stream(LONG)) as events:
        while not isinstance(await anext(events), Delta):
            pass
        (answer,) = runtime.answers.open
        assert runtime.answers.stop(answer)
        (last,) = [event async for event in events]
    assert isinstance(last, Failed)
    assert last.code == "interrupted"
    assert book(runtime)[-1] == "end Failed"
    assert is_idle(runtime)
    assert not runtime.answers.stop(answer)


async def test_only_an_operator_says_how_long_it_stays(runtime: Runtime) -> None:
    with pytest.raises(OperatorOnly):
        runtime.find("m", ANN).keep(0)
    runtime.find("m", Caller("op", operator=True)).keep(5)
    (resident,) = runtime.keeper.residents
    assert resident.keep == 5
