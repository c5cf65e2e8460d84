"""An engine that was installed before the code around it, as after `git pull` without `make`, is called that."""

import sys
from types import ModuleType

import pytest

from edgechat.i18n import speaking, t
from edgechat.worker.main import _unforeseen


@pytest.mark.parametrize("line", ["lib.of_tomorrow", "from edgechat_engine.lib import of_tomorrow"])
def test_an_older_engine_is_told_with_what_to_do(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lib = ModuleType("edgechat_engine.lib")
    monkeypatch.setitem(sys.modules, "edgechat_engine.lib", lib)
    with pytest.raises((AttributeError, ImportError)) as caught:
        exec(line, {"lib": lib})
    assert "run `make setup` in its folder" in _unforeseen(caught.value)
    with speaking("zh"):
        assert "运行 `make setup`" in t(_unforeseen(caught.value))


def test_anything_else_is_told_as_it_is() -> None:
    assert _unforeseen(AttributeError("'Header' object has no attribute 'x'")) == (
        """the model could not be loaded: AttributeError("'Header' object has no attribute 'x'")"""
    )
