"""What can be asked for, on a store with fake models."""

from pathlib import Path

import pytest

from edgechat.errors import ModelNotFound
from edgechat.hub.catalog import Catalog
from edgechat.hub.store import Store
from edgechat.library import Library
from edgechat.settings import Settings
from tests.scripts import publish


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
    assert found.wanted(b).keep > 1e9
    assert found.wanted(b).load.context == 2048


async def test_a_damaged_file_does_not_hide_the_others(tmp_path: Path) -> None:
    found = library(tmp_path)
    bad, good = publish(found.store, "bad"), publish(found.store, "good")
    bad.path.chmod(0o644)
    bad.path.write_text("x" * bad.size)
    await found.learn()
    assert found.served(good, None).info.context == 4096
