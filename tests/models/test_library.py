"""What can be asked for, on a store with fake models."""

import os
from math import inf
from pathlib import Path

import pytest
from msgspec import structs

from edgechat.errors import ModelNotFound
from edgechat.hub import versions
from edgechat.hub.catalog import Catalog
from edgechat.hub.store import Store
from edgechat.models.library import Library
from edgechat.settings import Settings
from tests.scripts import publish, tuned


def library(home: Path, **settings: object) -> Library:
    return Library(Settings(home=home, engine="fake", **settings), Store(home), Catalog.load(home))  # type: ignore[arg-type]


def test_the_default_comes_first_and_aliases_last(tmp_path: Path) -> None:
    found = library(tmp_path, aliases={"fast": "b", "lost": "nowhere", "best": "c"})
    for name in "abc":
        publish(found.store, name)
    found.default = found.store.find("b")
    assert found.names() == ["b", "a", "c", "fast", "best"]
    assert found.get("").name == found.get("fast").name == "b"
    assert found.get("pypi:a==1:model.json").name == "a"


def test_an_unknown_model_says_what_there_is_or_how_to_get_it(tmp_path: Path) -> None:
    found = library(tmp_path)
    publish(found.store, "a")
    with pytest.raises(ModelNotFound, match="there is a"):
        found.get("zzz")
    with pytest.raises(ModelNotFound, match="edgechat pull qwen3"):
        found.get("qwen3-0.6b")


def test_only_the_default_stays_for_ever_and_gets_the_context_that_was_asked_for(tmp_path: Path) -> None:
    found = library(tmp_path, context=2048, keep_alive="90s")
    a, b = publish(found.store, "a", context=1000), publish(found.store, "b")
    found.default = b
    assert found.wanted(a).keep == 90
    assert found.wanted(a).load.context == 1000  # all it knows
    assert found.wanted(b).keep == inf
    assert found.wanted(b).load.context == 2048


async def test_a_damaged_file_does_not_hide_the_others(tmp_path: Path) -> None:
    found = library(tmp_path)
    bad, good = publish(found.store, "bad"), publish(found.store, "good")
    bad.path.chmod(0o644)
    bad.path.write_text("x" * bad.size)
    await found.learn()
    assert found.served(good, None).info.context == 4096


def test_what_tuning_chose_is_loaded_under_the_models_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgechat.models.library.TUNED_ENGINE", "fake")
    found = library(tmp_path)
    model, fast = publish(found.store, "m"), publish(found.store, "m-fast")
    assert found.wanted(model).load.digest == model.sha256
    tuned(found.store, model, fast, threads=3)
    wanted = found.wanted(model)
    assert (wanted.name, wanted.load.path, wanted.load.digest) == ("m", str(fast.path), fast.sha256)
    assert (wanted.load.decode_threads, wanted.load.prefill_threads) == (3, 3)
    assert (wanted.load.ubatch, wanted.load.flash) == (64, True)
    assert found.served(model, None).sha256 == fast.sha256
    assert found.served(model, None).recipe == "IQ4_NL/IQ4_NL"
    assert found.served(model, None).name == "m"
    versions.remove(found.store, "m-fast")
    assert found.wanted(model).load.digest == model.sha256


def test_threads_that_a_person_set_win_over_measured_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgechat.models.library.TUNED_ENGINE", "fake")
    found = library(tmp_path, threads=2)
    model = publish(found.store, "m")
    tuned(found.store, model, model, threads=1)
    assert found.wanted(model).load.decode_threads == 0


def test_a_result_is_nothing_to_another_engine(tmp_path: Path) -> None:
    found = library(tmp_path)
    model, fast = publish(found.store, "m"), publish(found.store, "m-fast")
    tuned(found.store, model, fast)
    assert found.wanted(model).load.digest == model.sha256


def test_a_file_outside_the_store_is_as_old_as_its_bytes(tmp_path: Path) -> None:
    found = library(tmp_path)
    model = publish(found.store, "m")
    os.utime(model.path, (1_700_000_000, 1_700_000_000))
    outside = structs.replace(model, pulled=None)
    assert found.served(outside, None).since == 1_700_000_000
    assert found.served(structs.replace(model, pulled="2026-11-20T00:00:00+00:00"), None).since == 1_795_132_800


def test_whether_a_model_thinks_unasked_is_as_the_catalogue_has_it(tmp_path: Path) -> None:
    entry = '[[model]]\nname = "mine"\nsources = ["modelscope:Me/Mine-GGUF"]\nthinking = false\n'
    (tmp_path / "catalog.toml").write_text(entry)
    found = library(tmp_path)
    assert found.wanted(publish(found.store, "mine")).load.thinking is False
    assert found.wanted(publish(found.store, "other")).load.thinking is None
