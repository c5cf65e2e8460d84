"""Which model of the catalogue a newcomer would rather take, on machines of all sizes."""

from pathlib import Path

import pytest

from edgechat.hub.catalog import Catalog
from edgechat.hub.store import Store
from edgechat.settings import Settings
from edgechat.tune import advice
from tests.scripts import publish, tuned

GB = 1_000_000_000
CATALOG = Catalog.read(
    'default = "d"\nfallback = "d"\nnewcomers = ["large", "small", "unknown"]\n'
    + "".join(
        f'[[model]]\nname = "{name}"\nsources = ["modelscope:A/{name}"]\nbeside = {GB}\nleast = {GB // 4}\n'
        + (f"size = {size}\n" if size else "")
        for name, size in (("d", 1), ("large", 3_000_000_000), ("small", 500_000_000), ("unknown", 0))
    )
)


@pytest.mark.parametrize(
    ("memory", "bandwidth", "name"),
    [(8 * GB, 100 * GB, "large"), (8 * GB, 20 * GB, "small"), (2 * GB, 100 * GB, "small"), (GB // 2, 100 * GB, None),
     (8 * GB, 2 * GB, None)],
)  # fmt: skip
def test_the_best_that_fits_and_is_fast_enough(memory: int, bandwidth: float, name: str | None) -> None:
    found = advice.advised(CATALOG, memory, bandwidth)
    assert (found.name if found else None) == name
    if found:
        assert found.memory <= memory
        assert found.speed >= advice.PACE


@pytest.mark.parametrize(("memory", "told"), [(2 * GB, 1.5), (GB, 1), (0.8 * GB, 0.8), (0.7 * GB, None)])
def test_a_small_machine_is_told_of_a_model_that_serves_one_person_at_a_time(memory: float, told: float | None) -> None:
    found = advice.advised(CATALOG, int(memory), 20 * GB)
    assert (found.memory / GB if found else None) == told


def test_a_busy_moment_is_not_what_the_memory_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = iter([2.0, 1.0, 3.0])
    monkeypatch.setattr("edgechat.tune.bandwidth.measured", lambda _: next(speeds))
    monkeypatch.setattr(advice, "AGAIN", 0)
    roof = advice._Roof()
    assert [roof.now(), roof.now()] == [2.0, 2.0]
    monkeypatch.setattr(advice, "AGAIN", 3600)
    assert [roof.now(), roof.now()] == [3.0, 3.0]


def test_what_was_tuned_here_tells_how_fast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, store = Settings(home=tmp_path, memory="8GB"), Store(tmp_path)  # type: ignore[arg-type]
    monkeypatch.setattr("edgechat.tune.bandwidth.measured", lambda _: 20.0 * GB)
    monkeypatch.setattr(advice, "_roof", advice._Roof())
    measured = advice.advice(settings, store, CATALOG)
    assert measured is not None
    assert measured.speed == pytest.approx(20)
    model = publish(store, "a")
    tuned(store, model, model, streamed=GB, bandwidth=40.0 * GB)
    found = advice.advice(settings, store, CATALOG)
    assert found is not None
    assert found.name == "large"
    assert found.speed == pytest.approx(40 / 3)  # at the whole of the memory's speed
