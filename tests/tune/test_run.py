"""Tuning from one end to the other, on a lab that measures nothing."""

import asyncio
from pathlib import Path

import pytest
from filelock import FileLock

from edgechat import machine
from edgechat.engine.fit import LEAST_CONTEXT
from edgechat.engine.llama.memory import cell_bytes
from edgechat.errors import ConfigError, NoSpace
from edgechat.gguf.header import read_header
from edgechat.hub import versions
from edgechat.hub.store import Store
from edgechat.hub.stored import Stored
from edgechat.tune import letters, recipes, record
from edgechat.tune.choice import FLOORS, QUALITIES, QualityName
from edgechat.tune.progress import Step
from edgechat.tune.recipes import USUAL
from edgechat.tune.record import Records, Tuned
from edgechat.tune.run import Wish, tune
from tests.tune.conftest import FakeLab

BALANCED = Wish()


async def tuned(
    model: Stored, store: Store, lab: FakeLab, wish: Wish = BALANCED, steps: list[Step] | None = None
) -> Tuned:
    told: list[Step] = [] if steps is None else steps
    return await tune(model, store, Records(store.models.parent), lab, wish, told.append)


@pytest.mark.parametrize("quality", QUALITIES)
async def test_the_fastest_within_the_floor_is_published(
    model: Stored, store: Store, lab: FakeLab, quality: QualityName
) -> None:
    steps: list[Step] = []
    found = await tuned(model, store, lab, Wish(quality), steps)
    assert found.chosen.quality is not None
    assert found.chosen.quality.kld <= FLOORS[quality]
    assert found.chosen.speed.turn < found.baseline.speed.turn
    (stored,) = store.list()
    assert stored.sha256 == found.sha256
    assert found.chosen.recipe in (stored.made_from or "")
    assert [step.fraction for step in steps] == sorted(step.fraction for step in steps)
    assert steps[-1].fraction <= 1
    assert found.counts.flash
    assert found.roof == pytest.approx(found.streamed * found.chosen.speed.decode / 10e9)
    serving = Records(store.models.parent).serving(model, store)
    assert serving is not None
    assert serving[1] == stored


async def test_the_projector_is_published_with_the_file_that_was_chosen(
    model: Stored, store: Store, lab: FakeLab
) -> None:
    def see(target: Path) -> None:
        target.write_bytes(b"GGUF of eyes")

    records = Records(store.models.parent)
    found = await tune(model, store, records, lab, BALANCED, lambda _: None, see)
    serving = records.serving(model, store)
    assert serving is not None
    assert serving[1].sha256 == found.sha256
    assert [path.read_bytes() for path in serving[1].companions] == [b"GGUF of eyes"]


async def test_work_grows_from_round_to_round_and_candidates_fall(model: Stored, store: Store, lab: FakeLab) -> None:
    await tuned(model, store, lab)
    judged = [order for order in lab.orders if isinstance(order, letters.Judge)]
    first = [order for order in judged if order.stop == letters.FEW]
    races = [order for order in lab.orders if isinstance(order, letters.Race)]
    assert len(first) > len(judged) - len(first) >= len(races) >= 1
    assert sum(isinstance(order, letters.Recast) for order in lab.orders) == len(first)
    assert not list(Records(store.models.parent).folder.glob("work-*/*"))  # nothing is left behind


async def test_it_goes_on_from_wherever_it_was_stopped(model: Stored, store: Store, tmp_path: Path) -> None:
    undisturbed = FakeLab()
    whole = await tuned(model, Store(tmp_path / "other"), undisturbed)
    for stage in range(len(undisturbed.orders)):
        home, lab = Store(tmp_path / f"home-{stage}"), FakeLab()
        lab.stop_at, lab.stop_with = stage, asyncio.CancelledError()
        with pytest.raises(asyncio.CancelledError):
            await tuned(model, home, lab)
        assert Records(home.models.parent).find(model.sha256) is None
        found = await tuned(model, home, lab)
        assert found.chosen == whole.chosen
        assert len(lab.orders) <= len(undisturbed.orders) + 1  # what was measured is not measured again


async def test_a_full_disk_stops_it_and_room_lets_it_go_on(model: Stored, store: Store, lab: FakeLab) -> None:
    lab.stop_at, lab.stop_with = 3, NoSpace("the disk is full.")
    with pytest.raises(NoSpace):
        await tuned(model, store, lab)
    assert (await tuned(model, store, lab)).sha256 != model.sha256


async def test_a_recipe_that_does_not_work_is_left_out(model: Stored, store: Store, lab: FakeLab) -> None:
    best = (await tuned(model, store, FakeLab())).chosen.recipe
    lab.broken = (best.replace("/", "-"),)
    found = await tuned(model, Store(store.models.parent / "other"), lab)
    assert found.chosen.recipe != best
    assert best not in [one.recipe for one in found.candidates]


async def test_a_model_that_suffers_more_than_usual_gets_a_finer_recipe(
    model: Stored, store: Store, lab: FakeLab
) -> None:
    lab.klds = {kind: 10 * usual for kind, usual in USUAL.items()}
    found = await tuned(model, store, lab)
    assert found.chosen != found.baseline
    assert found.chosen.quality is not None
    assert found.chosen.quality.within(FLOORS["balanced"])


async def test_where_nothing_keeps_the_floor_the_file_stays(model: Stored, store: Store, lab: FakeLab) -> None:
    lab.klds = dict.fromkeys(lab.klds, 0.9)
    found = await tuned(model, store, lab)
    assert found.chosen == found.baseline
    assert found.sha256 == model.sha256
    assert store.list() == []


async def test_memory_bounds_what_is_tried(model: Stored, store: Store, lab: FakeLab) -> None:
    found = await tuned(model, store, lab, Wish(memory=1))
    assert found.candidates == ()
    assert found.chosen == found.baseline
    assert not any(isinstance(order, letters.Recast) for order in lab.orders)


async def test_what_memory_holds_has_room_for_a_conversation(
    model: Stored, store: Store, lab: FakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgechat.engine.llama.memory.fixed_bytes", recipes.size)
    free, per_token = Wish(), cell_bytes(read_header(model.path))
    smallest = min(
        one.size for one in (await tuned(model, Store(store.models.parent / "a"), FakeLab(), free)).candidates
    )
    enough = Wish(memory=smallest + LEAST_CONTEXT * per_token)
    assert (await tuned(model, Store(store.models.parent / "b"), FakeLab(), enough)).candidates
    short = Wish(memory=smallest + (LEAST_CONTEXT - 64) * per_token)
    assert (await tuned(model, Store(store.models.parent / "c"), lab, short)).candidates == ()


async def test_one_process_tunes_a_model_at_a_time(model: Stored, store: Store, lab: FakeLab) -> None:
    work = Records(store.models.parent).work(model.sha256)
    work.folder.parent.mkdir(parents=True)
    with FileLock(work.folder.with_suffix(".lock")), pytest.raises(ConfigError, match="already"):
        await tuned(model, store, lab)


async def test_a_result_of_another_machine_engine_or_model_is_none(
    model: Stored, store: Store, lab: FakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tuned(model, store, lab)
    records = Records(store.models.parent)
    assert records.find(model.sha256) is not None
    assert records.find("0" * 64) is None
    with monkeypatch.context() as other:
        other.setattr(record, "processor", lambda: "another")
        assert records.find(model.sha256) is None
    with monkeypatch.context() as other:
        other.setattr(record, "engine_build", lambda: "rebuilt")
        assert records.find(model.sha256) is None
    with monkeypatch.context() as other:
        other.setattr(machine, "cores", lambda: 64)  # the quota changed
        assert records.find(model.sha256) is None
    assert records.find(model.sha256) is not None


async def test_a_quota_that_changes_on_the_way_begins_anew(
    model: Stored, store: Store, lab: FakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.stop_at, lab.stop_with = 6, asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError):
        await tuned(model, store, lab)
    before = len(lab.orders)
    monkeypatch.setattr(machine, "cores", lambda: 1)
    found = await tuned(model, store, lab)
    assert isinstance(lab.orders[before], letters.Costs)
    assert found.counts.decode_threads == 1


async def test_a_quota_that_changes_at_the_end_publishes_nothing(
    model: Stored, store: Store, lab: FakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(step: Step) -> None:
        if step.doing.startswith("finding"):
            monkeypatch.setattr(machine, "cores", lambda: 64)

    with pytest.raises(ConfigError, match="tune again"):
        await tune(model, store, Records(store.models.parent), lab, BALANCED, change)
    assert store.list() == []
    before = len(lab.orders)
    assert (await tuned(model, store, lab)).counts.decode_threads == 64
    assert isinstance(lab.orders[before], letters.Costs)  # nothing measured with other cores is used


async def test_a_tuned_file_that_is_gone_is_not_served(model: Stored, store: Store, lab: FakeLab) -> None:
    await tuned(model, store, lab)
    (stored,) = store.list()
    versions.remove(store, stored.name)
    assert Records(store.models.parent).serving(model, store) is None


async def test_a_damaged_result_is_none(model: Stored, store: Store, lab: FakeLab) -> None:
    await tuned(model, store, lab)
    records = Records(store.models.parent)
    (path,) = records.folder.glob("*.json")
    path.write_bytes(path.read_bytes()[:-9])
    assert records.find(model.sha256) is None
