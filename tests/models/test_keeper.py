"""Several models under one memory number, on the fake engine in real worker processes."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from math import inf
from pathlib import Path

import pytest

from edgechat.engine.fake import Forecast
from edgechat.errors import ModelFileInvalid
from edgechat.hub.store import Hold
from edgechat.letters import Load
from edgechat.models.keeper import Keeper
from edgechat.models.resident import Wanted
from edgechat.types import AnyEvent, Delta, Done, Failed, GenRequest, Loading, Message, Queued

Model = Callable[..., Wanted]
UNIT = 10_000_000  # bytes, as the tests count them


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """Writes a script of 40 units of memory and gives the model."""

    def write(name: str, keep: float = inf, **script: object) -> Wanted:
        path = tmp_path / f"{name}.json"
        script = {"reply": name, "memory": 40} | script
        script["memory"] = int(str(script["memory"])) * UNIT
        path.write_text(json.dumps(script))
        return Wanted(name, Load("fake", str(path), 0, 1), Forecast(path), lambda: Hold([path]), keep)

    return write


@asynccontextmanager
async def keeping(memory: int = 100, cores: int = 2) -> AsyncIterator[Keeper]:
    keeper = Keeper(memory * UNIT, cores)
    sweep = asyncio.create_task(keeper.run())
    try:
        yield keeper
    finally:
        sweep.cancel()
        await keeper.close()


def ask(text: str = "hello", most: int = 200) -> GenRequest:
    return GenRequest((Message.of("user", text),), max_tokens=most)


async def events_of(keeper: Keeper, wanted: Wanted, request: GenRequest | None = None) -> list[AnyEvent]:
    async with asyncio.timeout(60):
        return [event async for event in keeper.stream(wanted, request or ask())]


def text_of(events: list[AnyEvent]) -> str:
    assert isinstance(events[-1], Done), events
    return "".join(event.text for event in events if isinstance(event, Delta))


async def until(condition: Callable[[], object], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def loaded(keeper: Keeper) -> set[str]:
    return {tenant.name for tenant in keeper.pool.tenants}


def pid(keeper: Keeper, name: str) -> int:
    resident = keeper.resident(name)
    assert resident is not None
    assert resident.worker is not None
    assert resident.worker.pid is not None
    return resident.worker.pid


async def test_a_model_is_loaded_on_first_use_and_tells_how_it_goes(model: Model) -> None:
    async with keeping() as keeper:
        events = await events_of(keeper, model("a", load_ms=100))
        assert text_of(events) == "a"
        stages = [event.stage for event in events if isinstance(event, Loading)]
        assert "weights" in stages
        assert not any(isinstance(event, Loading) for event in await events_of(keeper, model("a")))


async def test_a_load_may_take_longer_than_a_restart(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(pid: int) -> int:
        time.sleep(0.3)
        return pid

    monkeypatch.setattr("edgechat.models.keeper.RESTART_S", 0.01)
    monkeypatch.setattr("edgechat.models.keeper.tree_bytes", slow)
    async with keeping() as keeper:
        assert text_of(await events_of(keeper, model("a", load_ms=300))) == "a"


async def test_three_requests_for_an_unloaded_model_load_it_once(model: Model) -> None:
    a = model("a", load_ms=300)
    async with keeping() as keeper:
        answers = [asyncio.create_task(events_of(keeper, a)) for _ in range(3)]
        await until(lambda: loaded(keeper) == {"a"})
        await until(lambda: (one := keeper.resident("a")) and one.worker and one.worker.pid)
        first = pid(keeper, "a")
        assert [text_of(events) for events in await asyncio.gather(*answers)] == ["a"] * 3
        assert pid(keeper, "a") == first
        assert len(keeper.pool.tenants) == 1


async def test_the_least_recently_used_makes_room(model: Model) -> None:
    a, b, c = model("a"), model("b"), model("c")
    async with keeping(memory=100) as keeper:
        for wanted in (a, b, a, c):
            assert text_of(await events_of(keeper, wanted)) == wanted.name
        assert loaded(keeper) == {"a", "c"}
        assert keeper.pool.room == 20 * UNIT


async def test_a_busy_model_is_not_unloaded_and_its_next_requests_wait_their_turn(model: Model) -> None:
    slow, other = model("slow", reply="x" * 150, step_ms=5), model("other")
    async with keeping(memory=50) as keeper:
        running = asyncio.create_task(events_of(keeper, slow))
        await until(lambda: (one := keeper.resident("slow")) and one.busy and one.ready)
        first = pid(keeper, "slow")
        waiting = asyncio.create_task(events_of(keeper, other))
        await until(lambda: (one := keeper.resident("slow")) and one.leaving)
        late = asyncio.create_task(events_of(keeper, slow, ask(most=5)))
        assert text_of(await running) == "x" * 150  # nothing was cut
        assert text_of(await waiting) == "other"
        assert text_of(await late) == "x" * 5
        assert pid(keeper, "slow") != first
        assert loaded(keeper) == {"slow"}


async def test_an_idle_model_goes_when_its_time_is_up(model: Model) -> None:
    async with keeping() as keeper:
        await events_of(keeper, model("short", keep=0.2))
        await events_of(keeper, model("stays"))
        await until(lambda: loaded(keeper) == {"stays"})
        assert text_of(await events_of(keeper, model("short", keep=0.2))) == "short"


async def test_a_request_can_say_how_long_the_model_stays(model: Model) -> None:
    async with keeping() as keeper:
        await events_of(keeper, model("a"))
        keeper.keep("a", 0)
        await until(lambda: not loaded(keeper))
        slow = model("b", reply="y" * 50, step_ms=5)
        running = asyncio.create_task(events_of(keeper, slow))
        await until(lambda: (one := keeper.resident("b")) and one.busy)
        keeper.keep("b", 0)
        assert text_of(await running) == "y" * 50  # after its last answer, not before
        await until(lambda: not loaded(keeper))


async def test_a_model_that_is_unloaded_finishes_its_answers(model: Model) -> None:
    async with keeping() as keeper:
        running = asyncio.create_task(events_of(keeper, model("a", reply="z" * 80, step_ms=5)))
        await until(lambda: (one := keeper.resident("a")) and one.ready)
        await keeper.unload("a")
        assert text_of(await running) == "z" * 80
        assert not loaded(keeper)


async def test_what_does_not_fit_alone_is_refused_with_the_number(model: Model) -> None:
    async with keeping(memory=100) as keeper:
        await events_of(keeper, model("small"))
        failed = (await events_of(keeper, model("giant", memory=200)))[-1]
        assert isinstance(failed, Failed)
        assert f"it takes {200 * UNIT}" in failed.message
        assert loaded(keeper) == {"small"}  # nobody made room in vain


async def test_a_model_that_cannot_be_loaded_is_an_error_for_all_who_wait_and_is_not_tried_at_once_again(
    model: Model, tmp_path: Path
) -> None:
    bad = model("bad")
    (tmp_path / "bad.json").write_text("no script")
    async with keeping() as keeper:
        asked = [asyncio.create_task(events_of(keeper, bad)) for _ in range(3)]
        for events in await asyncio.gather(*asked):
            assert isinstance(events[-1], Failed)
            assert events[-1].code == ModelFileInvalid.code
        assert keeper.pool.room == 100 * UNIT
        (tmp_path / "bad.json").write_text('{"reply": "mended"}')
        with pytest.raises(ModelFileInvalid):  # for a moment it is taken for broken still
            await events_of(keeper, bad)


async def test_a_mended_model_is_loaded_after_a_moment(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgechat.models.keeper.FAILED_S", 0.0)
    bad = model("bad")
    (tmp_path / "bad.json").write_text("no script")
    async with keeping() as keeper:
        assert isinstance((await events_of(keeper, bad))[-1], Failed)
        (tmp_path / "bad.json").write_text('{"reply": "mended"}')
        assert text_of(await events_of(keeper, bad)) == "mended"


async def test_a_reader_that_leaves_during_the_load_takes_nothing_from_the_others(model: Model) -> None:
    a = model("a", load_ms=300)
    async with keeping() as keeper:
        leaver = asyncio.create_task(events_of(keeper, a))
        stayer = asyncio.create_task(events_of(keeper, a))
        await until(lambda: loaded(keeper))
        leaver.cancel()
        with suppress(asyncio.CancelledError):
            await leaver
        assert text_of(await stayer) == "a"
        await until(lambda: (one := keeper.resident("a")) and one.busy == 0)


async def test_the_death_of_one_worker_does_not_touch_another_models_answers(model: Model) -> None:
    """F06: error within two seconds, others byte for byte untouched; F05: the next request waits for the restart."""
    a, b = model("a", reply="a" * 150, step_ms=10), model("b", reply="b" * 150, step_ms=10)
    async with keeping() as keeper:
        other = asyncio.create_task(events_of(keeper, b))
        async with aclosing(keeper.stream(a, ask())) as events:
            async for event in events:
                if isinstance(event, Delta):
                    os.kill(pid(keeper, "a"), signal.SIGKILL)
                    break
            async with asyncio.timeout(2):
                rest = [event async for event in events]
        assert isinstance(rest[-1], Failed)
        assert text_of(await events_of(keeper, a)) == "a" * 150
        assert text_of(await other) == "b" * 150


async def test_two_busy_models_share_the_cores_and_get_them_back(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    granted: list[tuple[str, int]] = []
    grant = "edgechat.models.supervisor.Worker.grant"
    monkeypatch.setattr(grant, lambda worker, cores: granted.append((Path(worker._load.path).stem, cores)))
    a, b = model("a", reply="a" * 190, step_ms=5), model("b")
    async with keeping(cores=2) as keeper:
        running = asyncio.create_task(events_of(keeper, a))
        await until(lambda: (one := keeper.resident("a")) and one.ready and one.busy)
        await events_of(keeper, b)
        assert ("a", 1) in granted
        assert ("b", 1) in granted
        await until(lambda: dict(granted)["a"] == 2)  # the last word, once b was idle
        await running


async def test_when_the_keeper_closes_nothing_is_left(model: Model) -> None:
    async with keeping() as keeper:
        running = asyncio.create_task(events_of(keeper, model("a", reply="a" * 190, step_ms=20)))
        await until(lambda: (one := keeper.resident("a")) and one.ready and one.busy)
        process = pid(keeper, "a")
    events = await running
    assert isinstance(events[-1], Failed)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


async def test_the_first_event_of_a_loaded_model_is_its_place(model: Model) -> None:
    async with keeping() as keeper:
        await keeper.load(model("a"))
        assert isinstance((await events_of(keeper, model("a")))[0], Queued)


async def test_what_takes_more_than_it_said_is_loaded_once_more_with_less(model: Model) -> None:
    async with keeping(memory=20) as keeper:
        assert text_of(await events_of(keeper, model("a", memory=1, takes=20 * UNIT))) == "a"
        assert 10 * UNIT < keeper.pool.tenants[0].bytes <= 20 * UNIT  # as measured


async def test_what_it_takes_only_later_counts_now(model: Model) -> None:
    async with keeping(memory=100) as keeper:
        failed = (await events_of(keeper, model("a", memory=1, later=100 * UNIT)))[-1]
        assert isinstance(failed, Failed)
        assert "it takes --memory 1.0" in failed.message
        assert not loaded(keeper)


async def test_what_takes_more_than_there_is_even_so_is_refused_with_the_number(model: Model) -> None:
    async with keeping(memory=1) as keeper:  # less than a bare process
        failed = (await events_of(keeper, model("a", memory=1)))[-1]
        assert isinstance(failed, Failed)
        assert "it takes --memory 0.0" in failed.message
        assert not loaded(keeper)
