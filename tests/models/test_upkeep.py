"""A running server follows its store: versions take over under load, broken ones do not, removed ones leave."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edgechat.errors import EdgechatError, ModelNotFound
from edgechat.hub import versions
from edgechat.hub.store import Store
from edgechat.runtime import Runtime
from edgechat.settings import Settings
from edgechat.types import AnyEvent, Caller, Delta, Done, GenRequest, Message
from tests.hub.fakehub import FakeHub
from tests.scripts import publish, tuned

ANYBODY = Caller("test")
FLOOD = 250 if os.environ.get("EDGECHAT_TORTURE") else 50  # answers of each version


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgechat.models.upkeep.WATCH_S", 0.1)
    monkeypatch.setattr("edgechat.models.upkeep.DUE_S", 0.1)


@asynccontextmanager
async def serving(home: Path, model: str = "m", **settings: object) -> AsyncIterator[Runtime]:
    runtime = Runtime(Settings(home=home, model=model, engine="fake", **settings))  # type: ignore[arg-type]
    runtime.start()
    try:
        await until(lambda: runtime.readiness.state in ("ready", "failed"))
        assert runtime.readiness.state == "ready", runtime.readiness
        yield runtime
    finally:
        await runtime.stop()


async def until(condition: Callable[[], object], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def ask(runtime: Runtime, model: str = "") -> str:
    request = GenRequest((Message.of("user", "hello"),))
    events: list[AnyEvent] = [event async for event in runtime.find(model, ANYBODY).stream(request)]
    assert isinstance(events[-1], Done), events[-1]
    return "".join(event.text for event in events if isinstance(event, Delta))


async def flood(runtime: Runtime, stop: asyncio.Event, said: list[str]) -> None:
    while not stop.is_set():
        said.append(await ask(runtime))


def update(store: Store, name: str, **script: object) -> None:
    """What `edgechat update` leaves: the new version is the current one, the old one the previous."""
    publish(store, name, beside=True, **script)
    versions.promote(store, name)


@pytest.mark.parametrize("memory", ["4GB", "1.5GB"], ids=["beside", "in its place"])
async def test_an_update_under_load_fails_no_request(tmp_path: Path, memory: str) -> None:
    store, said, stop = Store(tmp_path), list[str](), asyncio.Event()
    publish(store, "m", reply="old", memory=10**9, load_ms=200)
    async with serving(tmp_path, memory=memory) as runtime:
        readers = [asyncio.create_task(flood(runtime, stop, said)) for _ in range(5)]
        await until(lambda: len(said) > FLOOD)
        update(store, "m", reply="new", memory=10**9, load_ms=200)
        await until(lambda: said.count("new") > FLOOD)
        stop.set()
        await asyncio.gather(*readers)
        assert set(said) == {"old", "new"}
        assert "old" not in said[-20:]
        await until(lambda: len(runtime.keeper.pool.tenants) == 1)
        assert runtime.served is not None
        assert runtime.served.sha256 == store.list()[0].sha256


@pytest.mark.parametrize("memory", ["4GB", "1.5GB"], ids=["beside", "in its place"])
@pytest.mark.parametrize("fault", [{"load_fails": True}, {"reply": ""}, {"exit_at": 0}, {"fail_at": 0}])
async def test_a_version_that_does_not_answer_leaves_the_old_one_serving(
    tmp_path: Path, fault: dict[str, object], memory: str
) -> None:
    store, said, stop = Store(tmp_path), list[str](), asyncio.Event()
    good = publish(store, "m", reply="old", memory=10**9)
    async with serving(tmp_path, memory=memory) as runtime:
        reader = asyncio.create_task(flood(runtime, stop, said))
        update(store, "m", **({"memory": 10**9} | fault))
        await until(lambda: (now := store.find("m")) and now.sha256 == good.sha256)  # rolled back
        before = len(said)
        await until(lambda: len(said) > before + 5)
        stop.set()
        await reader
        assert set(said) == {"old"}
        await until(lambda: len(runtime.keeper.pool.tenants) == 1)


async def test_a_removed_model_finishes_its_answers_and_is_gone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    publish(store, "m")
    publish(store, "other", reply="o" * 100, step_ms=10)
    async with serving(tmp_path) as runtime:
        running = asyncio.create_task(ask(runtime, "other"))
        await until(lambda: (one := runtime.keeper.resident("other")) and one.ready)
        versions.remove(store, "other")
        with pytest.raises(ModelNotFound):
            runtime.find("other", ANYBODY)
        assert await running == "o" * 100
        await until(lambda: runtime.keeper.resident("other") is None)
        assert await ask(runtime) == "m"


async def test_a_model_that_is_removed_while_it_loads_answers_who_waits_for_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    publish(store, "m")
    other = publish(store, "other", load_ms=1000)
    async with serving(tmp_path) as runtime:
        waiting = asyncio.create_task(ask(runtime, "other"))
        await until(lambda: (one := runtime.keeper.resident("other")) and one.held)
        versions.remove(store, "other")
        assert other.path.exists()
        assert await waiting == "other"
        await until(lambda: runtime.keeper.resident("other") is None)
        versions.gc(store)
        assert not other.path.exists()


@pytest.mark.parametrize("damage", [b"", b'{"reply": "else"}'], ids=["cut off", "other bytes"])
async def test_what_is_damaged_under_a_running_engine_is_not_loaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes
) -> None:
    """It dies of a page that is gone; started again, it would read what nobody verified."""
    monkeypatch.setattr("edgechat.models.keeper.FAILED_S", 0.2)
    store = Store(tmp_path)
    stored = publish(store, "m")
    async with serving(tmp_path) as runtime:
        resident = runtime.keeper.resident("m")
        assert resident is not None
        assert resident.worker is not None
        assert resident.worker.pid is not None
        stored.path.chmod(0o644)
        stored.path.write_bytes(damage)
        os.kill(resident.worker.pid, signal.SIGBUS)
        await until(lambda: resident.failure)
        assert (runtime.readiness.state, runtime.readiness.hint) == ("failed", "edgechat pull m")
        with pytest.raises(EdgechatError, match=r"is damaged|no model"):
            await ask(runtime)
        stored.path.unlink()
        publish(store, "m")  # as a pull mends it
        await until(lambda: runtime.readiness.state == "ready")
        assert await ask(runtime) == "m"


async def test_a_removed_default_is_told_and_comes_back_with_a_pull(tmp_path: Path) -> None:
    store = Store(tmp_path)
    publish(store, "m")
    async with serving(tmp_path) as runtime:
        versions.remove(store, "m")
        await until(lambda: runtime.keeper.resident("m") is None)
        gone = runtime.readiness
        assert (gone.state, gone.hint) == ("failed", "edgechat pull m")
        publish(store, "m")
        back = runtime.readiness
        assert back.state == "ready"
        assert await ask(runtime) == "m"


async def test_a_tuned_file_takes_over_under_load_and_no_request_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgechat.models.library.TUNED_ENGINE", "fake")
    store, said, stop = Store(tmp_path), list[str](), asyncio.Event()
    model = publish(store, "m", reply="slow", memory=10**9)
    async with serving(tmp_path, memory="4GB") as runtime:
        readers = [asyncio.create_task(flood(runtime, stop, said)) for _ in range(3)]
        await until(lambda: len(said) > 20)
        tuned(store, model, publish(store, "m-fast", reply="fast", memory=10**9))
        await until(lambda: said.count("fast") > 20)
        stop.set()
        await asyncio.gather(*readers)
        assert set(said) == {"slow", "fast"}
        assert runtime.served is not None
        assert runtime.served.name == "m"
        assert runtime.served.recipe == "IQ4_NL/IQ4_NL"


async def test_a_tuned_file_that_does_not_answer_is_dropped_and_the_model_answers_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgechat.models.library.TUNED_ENGINE", "fake")
    store = Store(tmp_path)
    model = publish(store, "m", reply="slow", memory=10**9)
    async with serving(tmp_path, memory="4GB") as runtime:
        records = tuned(store, model, publish(store, "m-bad", load_fails=True, memory=10**9))
        await until(lambda: records.find(model.sha256) is None)
        assert await ask(runtime) == "slow"
        assert store.find("m") is not None


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FakeHub]:
    """A hub that has one script."""
    folder = tmp_path / "hub" / "some" / "scripts"
    folder.mkdir(parents=True)
    (folder / "m.gguf").write_text('{"reply": "old"}')
    with FakeHub(tmp_path / "hub") as hub:
        yield hub


def release(hub: FakeHub, script: str) -> None:
    """The hub has another version."""
    (hub.root / "some" / "scripts" / "m.gguf").write_text(script)


async def test_on_its_schedule_a_server_takes_what_is_newer_and_answers(
    tmp_path: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgechat.models.upkeep.HOUR_S", 0.2)
    store, said, stop = Store(tmp_path / "home"), list[str](), asyncio.Event()
    reference = "modelscope:some/scripts:m.gguf"
    settings = {"modelscope_endpoint": hub.url, "hub_check_every": 1}
    async with serving(tmp_path / "home", reference, **settings) as runtime:
        (model,) = store.list()
        reader = asyncio.create_task(flood(runtime, stop, said))
        release(hub, '{"load_fails": true, "reply": "broken"}')
        await until(lambda: store.marker(model.name).refused)
        release(hub, '{"reply": "new"}')
        await until(lambda: "new" in said)
        stop.set()
        await reader
        assert set(said) == {"old", "new"}
        previous = store.previous(model.name)
        assert previous is not None
        assert previous.sha256 == model.sha256


async def test_a_clock_that_was_set_back_keeps_no_source_from_being_asked(
    tmp_path: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, reference = Store(tmp_path / "home"), "modelscope:some/scripts:m.gguf"
    settings = {"modelscope_endpoint": hub.url, "hub_check_every": 24}
    async with serving(tmp_path / "home", reference, **settings):
        (model,) = store.list()
    with monkeypatch.context() as patch:
        patch.setattr("edgechat.hub.versions.now", lambda: "2100-01-01T00:00:00+00:00")
        versions.note(store, model.name, None)
    release(hub, '{"reply": "new"}')
    async with serving(tmp_path / "home", reference, **settings):
        await until(lambda: store.current(model.name).sha256 != model.sha256)


async def test_offline_nobody_is_asked(tmp_path: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgechat.models.upkeep.HOUR_S", 0.0)
    store = Store(tmp_path / "home")
    publish(store, "m")
    async with serving(tmp_path / "home", offline=True, hub_check_every=1, modelscope_endpoint=hub.url) as runtime:
        await asyncio.sleep(0.5)
        assert await ask(runtime) == "m"
    assert hub.asked == []
