"""What doctor and serve say about tuning."""

from pathlib import Path

import psutil
import pytest

from edgechat.cli import doctor, tune, tuning
from edgechat.errors import ConfigError
from edgechat.hub.catalog import Catalog
from edgechat.hub.store import Store
from edgechat.models.library import Library
from edgechat.settings import Settings
from tests.scripts import publish, tuned


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(Settings(home=tmp_path), Store(tmp_path), Catalog.load(tmp_path))


def test_doctor_shows_both_thread_counts_or_the_command_that_finds_them(library: Library) -> None:
    settings, model = library.settings, publish(library.store, "m")
    (check,) = doctor.tuned(settings)
    assert check.todo == "edgechat tune m"
    tuned(library.store, model, model, threads=3)
    (check,) = doctor.tuned(settings)
    assert "3 threads to write, 3 to read" in check.found
    assert check.todo is None


def test_serve_offers_tuning_and_says_what_it_uses(library: Library) -> None:
    model, fast = publish(library.store, "m"), publish(library.store, "fast")
    assert "edgechat tune m" in "".join(tuning.told(library, model, False))
    assert "goes on meanwhile" in "".join(tuning.told(library, model, True))
    tuned(library.store, model, fast)
    assert "IQ4_NL/IQ4_NL, 2.0× as fast" in "".join(tuning.told(library, model, False))


def test_only_what_can_be_tuned_is_spoken_of(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, engine="fake")
    library = Library(settings, Store(tmp_path), Catalog.load(tmp_path))
    assert list(tuning.told(library, publish(library.store, "m"), False)) == []
    with pytest.raises(ConfigError, match="llama_cpp"):
        tuning.check(settings)


@pytest.mark.parametrize(("percent", "told"), [(5.0, ""), (80.0, "Other programs use 80% of the processor: tuning")])
def test_a_busy_machine_is_told_before_it_is_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, percent: float, told: str
) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: percent)
    tune.tell_of_others()
    assert capsys.readouterr().err[: len("Other programs use 80% of the processor: tuning")] == told
