"""Whoever asks in vain hears it before a connection is made; everybody else comes in."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from edgechat.api.app import create_app
from edgechat.api.doors import doorstep
from edgechat.api.doors.doorstep import Doorstep
from edgechat.api.doors.gate import Gate
from edgechat.api.routes import Table
from edgechat.runtime import Runtime
from edgechat.settings import Settings
from tests.api.doors.test_connection import asking, everything


class Door:
    """A doorstep, how many places are left behind it, and who was told to come back."""

    def __init__(self, stack: ExitStack, table: Table) -> None:
        self.places = 0
        self.refused = 0
        self._stack = stack
        self._listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self._listener.setblocking(False)
        self.step = stack.enter_context(Doorstep(self._listener, Gate(lambda: self.places, self._tell), table))

    def _tell(self) -> None:
        self.refused += 1

    def knock(self, said: bytes) -> socket.socket:
        """Somebody who has said that, and waits."""
        line = self._stack.enter_context(socket.create_connection(self._listener.getsockname(), 10))
        line.sendall(said)
        return line

    def comes_in(self) -> bytes | None:
        """What is heard of the next one who comes in; None for nobody."""
        try:
            line, _ = self.step.accept()
        except BlockingIOError:
            return None
        with line:
            return line.recv(65_536)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    app = create_app(Runtime(Settings(engine="fake", model="x", home=tmp_path)))
    with ExitStack() as stack:
        yield Door(stack, app.state.table)


def test_a_whole_request_without_a_place_is_refused_and_the_next_one_comes_in(door: Door) -> None:
    vain, other = door.knock(asking(5)), door.knock(b"GET /healthz HTTP/1.1\r\n\r\n")
    assert door.comes_in() == b"GET /healthz HTTP/1.1\r\n\r\n"
    told = everything(vain)
    assert told.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert b"\r\nRetry-After: 2\r\n" in told
    assert b'"code":"rate_limit_exceeded"' in told
    assert door.refused == 1
    assert other.recv(10) == b""


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/messages", b'{"type":"error"'),
        ("/v1/messages?beta=true", b'{"type":"error"'),
        ("/v1/%6Dessages", b'{"type":"error"'),
        ("/api/chat", b'{"error":"'),
        ("/v1/chat/completions", b'{"error":{'),
        ("/v1/completions", b'{"error":{'),
        ("/v1/responses", b'{"error":{'),
        ("/v1/embeddings", b'{"error":{'),
        ("/chat", b'{"error":{'),
    ],
)
def test_it_speaks_the_dialect_of_the_route(door: Door, path: str, shape: bytes) -> None:
    vain = door.knock(asking(5).replace(b"/v1/chat/completions", path.encode()))
    assert door.comes_in() is None
    assert everything(vain).partition(b"\r\n\r\n")[2].startswith(shape)


@pytest.mark.parametrize(
    "said",
    [
        b"GET /v1/models HTTP/1.1\r\n\r\n",
        b"POST /v1/messages/count_tokens HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        b"POST /v1/chat/nothing HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        b"POST /api/runs HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        asking(5)[:-1],
        asking(5).replace(b"Content-Length", b"Content-Longing"),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS begins like this
    ],
)
def test_what_asks_for_no_answer_or_is_not_whole_comes_in(door: Door, said: bytes) -> None:
    door.knock(said)
    assert door.comes_in() == said
    assert door.refused == 0


def test_everybody_comes_in_while_there_are_places(door: Door) -> None:
    door.places = 1
    door.knock(asking(5))
    assert door.comes_in() == asking(5)


def test_a_crowd_is_met_in_parts_so_that_those_inside_are_served_between(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorstep, "AT_A_TIME", 3)
    crowd = [door.knock(asking(5)) for _ in range(5)]
    assert door.comes_in() is None
    assert door.refused == 3
    assert door.comes_in() is None
    assert [everything(line)[:12] for line in crowd] == [b"HTTP/1.1 429"] * 5


def test_whoever_left_meanwhile_harms_nobody(door: Door) -> None:
    door.knock(asking(5)).close()
    assert door.comes_in() is None
    assert door.refused == 1
