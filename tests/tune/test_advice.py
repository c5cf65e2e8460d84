"""Which model of the catalogue a newcomer would rather take, on machines of all sizes."""

from pathlib import Path

import pytest

from edgechat.hub.catalog import Catalog
from edgechat.hub.store import Store
from edgechat.settings import Settings
from edgechat.tune import advice
from tests.scripts import publish, tuned

CATALOG = Catalog.read(
    'default = "d"\nfallback = "d"\nnewcomers = ["large", "small", "unknown"]\n'
    + "".join(
        f'[[model]]\nname = "{name}"\nsources = ["modelscope:A/{name}"]\n' + (f"size = {size}\n" if size else "")
        for name, size in (("d", 1), ("large", 3_000_000_000), ("small", 500_000_000), ("unknown", 0))
    )
)
GB = 1_000_000_000


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


def test_what_was_tuned_here_tells_how_fast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, store = Settings(home=tmp_path, memory="8GB"), Store(tmp_path)  # type: ignore[arg-type]
    monkeypatch.setattr(advice, "_measured", lambda _: 20.0 * GB)
    measured = advice.advice(settings, store, CATALOG)
    assert measured is not None
    assert measured.speed == pytest.approx(20)
    model = publish(store, "a")
    tuned(store, model, model, streamed=GB, bandwidth=40.0 * GB)
    found = advice.advice(settings, store, CATALOG)
    assert found is not None
    assert found.name == "large"
    assert found.speed == pytest.approx(40 / 3)  # at the whole of the memory's speed
