"""Commands as functions: run in this process, with what they say and how they end."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from edgechat import cli
from edgechat.errors import EdgechatError
from tests.hub.conftest import Bench, _direct, bench

__all__ = ["Bench", "Ran", "_direct", "bench"]


class Ran(NamedTuple):
    """A command that ended."""

    status: int
    said: str
    complained: str


Command = Callable[..., Ran]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `edgechat ARGUMENTS`."""

    def run(*arguments: str) -> Ran:
        monkeypatch.setattr("sys.argv", ["edgechat", *arguments])
        status = 0
        try:
            cli.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        except EdgechatError as error:
            raise AssertionError("main lets nothing through") from error
        said, complained = capsys.readouterr()
        return Ran(status, said, complained)

    return run


@pytest.fixture
def hub(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The commands' own hub and home."""
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", bench.hub.url)
    monkeypatch.setenv("EDGECHAT_HOME", str(bench.settings.home))
    return bench
