"""Below ASGI: every wait ends, no crowd keeps others out, and nobody is cut off without a word."""

import json
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import cast

import httpx
import pytest

from edgechat.api.doors import connection
from tests.api.conftest import serving

POST = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server with short deadlines and room for 20."""
    for name, seconds in {"GRACE_S": 0.0, "HEAD_S": 1.0, "BODY_S": 2.0, "PART_S": 1.0, "READ_S": 1.0}.items():
        monkeypatch.setattr(connection, name, seconds)
    (tmp_path / "fake.json").write_text(json.dumps({"reply": " ".join(map(str, range(40_000))), "context": 250_000}))
    with serving(tmp_path / "fake.json", tmp_path / "home", connections=20, connections_per_address=12) as base:
        yield base


def connect(base: str) -> socket.socket:
    url = httpx.URL(base)
    return socket.create_connection((url.host, url.port or 80), timeout=15)


def asking(tokens: int, stream: bool = True) -> bytes:
    """A request for an answer that long, head and body."""
    wanted = {"messages": [{"role": "user", "content": "x"}], "stream": stream, "max_tokens": tokens}
    body = json.dumps(wanted).encode()
    head = f"{POST}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def everything(sock: socket.socket) -> bytes:
    """What comes until the other side closes."""
    parts = []
    while part := sock.recv(65_536):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize(
    ("sent", "stage"),
    [
        (b"", "head"),
        (b"GET /healthz HTT", "head"),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n", "head"),
        (
            b"POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
            "body",
        ),
    ],
)
def test_what_does_not_come_to_an_end_is_ended_with_a_word(base: str, sent: bytes, stage: str) -> None:
    with connect(base) as sock:
        sock.sendall(sent)
        answer = everything(sock)
    assert b" 408 " in answer
    assert f"request's {stage} took too long" in answer.decode()
    assert 'http_requests_total{code="408"} 1.0' in httpx.get(f"{base}/metrics").text


def test_a_byte_now_and_then_does_not_help(base: str) -> None:
    started = time.monotonic()
    with connect(base) as sock:
        with pytest.raises(OSError):  # the server ends it between two bytes
            for byte in b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 10_000:
                sock.sendall(bytes([byte]))
                time.sleep(0.05)
                sock.setblocking(False)
                try:
                    if sock.recv(1, socket.MSG_PEEK):
                        raise ConnectionResetError
                except BlockingIOError:
                    pass
                finally:
                    sock.setblocking(True)
        with suppress(ConnectionResetError):  # a byte that crossed the end takes the word back
            assert b" 408 " in everything(sock)
    assert time.monotonic() - started < 12
    assert 'http_requests_total{code="408"} 1.0' in httpx.get(f"{base}/metrics").text


def test_dawdlers_give_way_to_those_who_ask(base: str) -> None:
    with ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(connect(base)).sendall(b"GET /")
            assert httpx.get(f"{base}/healthz").status_code == 200


def test_who_gives_way_is_found_without_looking_through_the_crowd() -> None:
    """Thousands of idle connections held up everybody while each newcomer looked at all of them."""
    looked_at = []

    class Dawdler:
        """Waits since the second `_began`."""

        def __init__(self, began: float) -> None:
            self._began, self.loop, self.ended = began, self, False

        def time(self) -> float:
            looked_at.append(self)
            return 10.0

        def _too_slow(self) -> None:
            self.ended = True

    crowd = [Dawdler(began) for began in (1.0, 2.0, 9.5)]
    assert connection._evict(cast("dict[connection.Connection, None]", dict.fromkeys(crowd)))
    assert ([one.ended for one in crowd], looked_at) == ([True, False, False], crowd[:1])
    assert not connection._evict(cast("dict[connection.Connection, None]", dict.fromkeys(crowd[2:])))
    assert not connection._evict({})


def test_a_server_remembers_nobody_who_left(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[connection.Heads] = []
    line_up = connection.Connection._line_up

    def spy(self: connection.Connection, waits: bool) -> None:
        line_up(self, waits)
        seen.append(self.heads)

    monkeypatch.setattr(connection.Connection, "_line_up", spy)
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(connect(base)).sendall(b"GET /")
        stack.enter_context(connect(base)).sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert httpx.get(f"{base}/healthz").status_code == 200
    deadline = time.monotonic() + 15
    while any(seen[-1].values()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert set(seen[-1]) <= {None}


def test_a_burst_pushes_nobody_out(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everyone is answered or told to come back, also those whose request lay unread when the next one came."""
    monkeypatch.setattr(connection, "GRACE_S", 1.0)
    with ExitStack() as stack:
        burst = [stack.enter_context(connect(base)) for _ in range(60)]
        for sock in burst:
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        statuses = {int(everything(sock).split(b" ")[1]) for sock in burst}
    assert 200 in statuses
    assert statuses <= {200, 503}


@pytest.mark.alone  # its second is over soon on a machine that is busy
def test_a_crowd_that_is_being_answered_is_not_pushed_out(base: str) -> None:
    """The one too many hears so politely; as soon as there is room it comes in."""
    with ExitStack() as stack:
        crowd = [stack.enter_context(connect(base)) for _ in range(12)]
        for sock in crowd:
            sock.sendall(asking(150_000))
            assert b" 200 " in sock.recv(100)
        with connect(base) as late:
            late.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = everything(late)
        assert b" 503 " in answer
        assert b"retry-after: 2" in answer.lower()
        assert b"too_many_connections" in answer
    deadline = time.monotonic() + 15
    while httpx.get(f"{base}/healthz").status_code != 200:
        assert time.monotonic() < deadline


def test_who_does_not_read_is_dropped(base: str) -> None:
    """Its answer is ended long before its end, and the others never noticed."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        url = httpx.URL(base)
        sock.connect((url.host, url.port or 80))
        sock.sendall(asking(190_000))
        until(base, "requests_running 1.0")
        until(base, "requests_running 0.0")
    assert "generation_tokens_total 0.0" in httpx.get(f"{base}/metrics").text


def until(base: str, line: str) -> None:
    """Wait for that line among the metrics."""
    deadline = time.monotonic() + 30
    while line not in httpx.get(f"{base}/metrics").text:
        assert time.monotonic() < deadline, line
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("head", "statuses"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Big: " + b"x" * 200_000 + b"\r\n\r\n", {431}),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + b"A: b\r\n" * 150 + b"\r\n", {431}),
        (b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", {414}),
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", {414, 431}),
        (b"nonsense\r\n\r\n", {400}),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", {400}),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", {501}),
        (b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", {400}),
    ],
)
def test_a_head_beyond_reason_is_refused_in_the_usual_shape(base: str, head: bytes, statuses: set[int]) -> None:
    with connect(base) as sock:
        sender = threading.Thread(target=send_as_far_as_it_goes, args=(sock, head))
        sender.start()
        try:
            answer = everything(sock)
        except ConnectionResetError:  # it went on sending after the refusal
            answer = b""
        sender.join()
    if answer:
        assert int(answer.split(b" ")[1]) in statuses
        assert set(json.loads(answer.partition(b"\r\n\r\n")[2])["error"]) == {"message", "type", "param", "code"}
    assert httpx.get(f"{base}/healthz").status_code == 200


def send_as_far_as_it_goes(sock: socket.socket, data: bytes) -> None:
    try:
        sock.sendall(data)
    except OSError:
        pass


def test_clients_that_reset_at_any_moment_harm_nobody(base: str) -> None:
    whole = asking(5_000)
    head = whole.index(b"{")
    for cut in [0, 5, head - 1, head, len(whole) - 1, *[len(whole)] * 5]:
        sock = connect(base)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.sendall(whole[:cut])
        if cut == len(whole):
            sock.recv(300)
        sock.close()
    with connect(base) as sock:
        sock.sendall(asking(3, stream=False).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert b'"0 1"' in everything(sock)


def test_a_proxys_connection_stays_longer_than_the_proxy_keeps_it(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = (Path(__file__).parents[3] / "deploy" / "nginx.conf").read_text()
    (kept,) = re.findall(r"keepalive_timeout (\d+)s;", conf)
    assert int(kept) < connection.PROXY_IDLE_S
    monkeypatch.setattr(connection, "PROXY_IDLE_S", 1)  # in place of uvicorn's five
    with connect(base) as sock:
        sock.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        began = time.monotonic()
        assert everything(sock).startswith(b"HTTP/1.1 200")
        assert time.monotonic() - began < 4


def test_an_offer_of_another_protocol_is_passed_over(base: str, capsys: pytest.CaptureFixture[str]) -> None:
    offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    request = asking(2, stream=False).replace(b"Host:", f"{offer}Host:".encode(), 1)
    chunked = f"{POST}{offer}Transfer-Encoding: chunked\r\n\r\n".encode()
    body = request.partition(b"\r\n\r\n")[2]
    for sent in (request, chunked + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)):
        with connect(base) as sock:
            sock.sendall(sent)
            assert sock.recv(64).startswith(b"HTTP/1.1 200")
    assert "upgrade" not in "".join(capsys.readouterr()).lower()
