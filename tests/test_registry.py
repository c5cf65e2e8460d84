import pytest

from edgechat import registry
from edgechat.errors import UnknownName


@pytest.mark.parametrize("name", registry.ENGINES)
def test_every_engine_can_be_loaded(name: str) -> None:
    assert callable(registry.load(registry.ENGINES, name, "engine"))


@pytest.mark.parametrize("name", registry.SOURCES)
def test_every_source_can_be_loaded(name: str) -> None:
    assert callable(registry.load(registry.SOURCES, name, "source"))


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(UnknownName, match="unknown engine 'zzz'; there is: fake, llama_cpp"):
        registry.load(registry.ENGINES, "zzz", "engine")


@pytest.mark.parametrize("name", registry.ENGINES)
def test_every_engine_can_be_foreseen(name: str) -> None:
    assert callable(registry.load(registry.FORECASTS, name, "engine"))
