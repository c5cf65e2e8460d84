"""The worker's heartbeat: at most one a second, and none where letters come anyway."""

import io
import threading

import msgspec
import pytest

from edgechat.letters import Alive, from_worker, to_worker
from edgechat.process import frames
from edgechat.types import Delta
from edgechat.worker.main import Server


class Pipe(Server):
    """A server whose letters are read back."""

    def __init__(self) -> None:
        self._decoder = to_worker
        self.written = io.BytesIO()
        self._answers = io.BufferedWriter(self.written)
        self._lock = threading.Lock()

    @property
    def told(self) -> list[msgspec.Struct]:
        stream = io.BytesIO(self.written.getvalue())
        letters: list[msgspec.Struct] = []
        while (letter := frames.read(stream, from_worker)) is not None:
            letters.append(letter)
        return letters


def test_who_tells_nothing_says_that_they_live(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Pipe()
    monkeypatch.setattr("edgechat.worker.main.HEARTBEAT_S", -1.0)
    server.alive()
    assert server.told == [Alive()]


def test_who_told_something_just_now_need_not_say_it(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Pipe()
    monkeypatch.setattr("edgechat.worker.main.HEARTBEAT_S", 3600.0)
    server.tell(1, Delta("x"))
    for _ in range(100):
        server.alive()
    assert len(server.told) == 1
