"""A store in a folder of its own, and a few words to fill it with."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgechat.history import turns
from edgechat.history.records import Outcome, Started, Turn
from edgechat.history.store import History

MOST = 1 << 30  # bytes of attachments
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    """An open store."""
    history = History(tmp_path)
    history.open()
    yield history
    history.close()


def ask(history: History, content: str | None = "hello", owner: str = "", **turn: object) -> Started:
    """A stored turn whose answer is still to come."""
    started, new = history.write(turns.begin, owner, Turn(content=content, **turn), history.lease).result()  # type: ignore[arg-type]
    assert new
    return started


def answered(history: History, content: str = "hello", answer: str = "Hi.", owner: str = "", **turn: object) -> Started:
    """A stored turn with its whole answer."""
    started = ask(history, content, owner, **turn)
    assert history.write(turns.finish, started.answer_id, Outcome("complete", answer, finish_reason="stop")).result()
    return started
