"""Who finds no place for an answer hears it at once; places come back however an answer ends."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from edgechat.api.doors.gate import SEATS, Gate
from edgechat.scheduler import loop
from tests.api.conftest import serving
from tests.api.doors.test_connection import POST, connect, everything


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of long answers, with places for one that waits and those that run."""
    folder = tmp_path_factory.mktemp("gate")
    script = {"reply": " ".join(map(str, range(40_000))), "context": 250_000, "step_ms": 5}
    (folder / "fake.json").write_text(json.dumps(script))
    with serving(folder / "fake.json", folder / "home", queue=1) as base:
        yield base


def test_the_seats_are_the_schedulers() -> None:
    assert SEATS == loop.RUNNING


def test_a_gate_counts_places_and_tells_of_refusals() -> None:
    refused: list[int] = []
    gate = Gate(lambda: 2, lambda: refused.append(1))
    for _ in range(2):
        assert not gate.full
        gate.enter()
    assert gate.full
    gate.turn_away()
    assert refused == [1]
    gate.leave()
    assert not gate.full


def crowd(stack: ExitStack, base: str) -> None:
    """Take every place with an answer that streams, each for somebody else: all but the last have begun to speak."""
    for number in range(SEATS + 1):
        wanted = {"messages": [{"role": "user", "content": "x"}], "stream": True, "user": str(number)}
        body = json.dumps(wanted | {"max_tokens": 150_000})
        sock = stack.enter_context(connect(base))
        sock.sendall(f"{POST}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        awaited = b" 200 " if number == SEATS else b'"content":"0'
        heard = b""
        while awaited not in heard:
            heard += sock.recv(1000)
            assert b" 200 " in heard[:20]


def refused(base: str, path: str) -> httpx.Response:
    """What somebody hears who asks at `path` while all places are taken."""
    return httpx.post(f"{base}{path}", json={"model": "", "messages": [], "max_tokens": 1})


def answered_again(base: str) -> bool:
    deadline = time.monotonic() + 15
    ask = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
    while httpx.post(f"{base}/v1/chat/completions", json=ask).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return True


def test_whoever_finds_no_place_hears_it_in_the_own_dialect_and_the_probes_go_on(base: str) -> None:
    with ExitStack() as stack:
        crowd(stack, base)
        answer = refused(base, "/v1/chat/completions")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")
        assert answer.json()["error"]["code"] == "rate_limit_exceeded"
        assert refused(base, "/v1/messages").json()["error"]["type"] == "rate_limit_error"
        assert isinstance(refused(base, "/api/chat").json()["error"], str)
        assert httpx.get(f"{base}/healthz").status_code == 200
        assert httpx.get(f"{base}/v1/models").status_code == 200
        assert 'answers_refused_total{code="rate_limit_exceeded"} 3.0' in httpx.get(f"{base}/metrics").text
    assert answered_again(base)


def test_a_request_that_is_not_whole_takes_no_place(base: str) -> None:
    with ExitStack() as stack:
        for _ in range(SEATS + 1):
            stack.enter_context(connect(base)).sendall(f"{POST}Content-Length: 99\r\n\r\n{{".encode())
        assert answered_again(base)


def test_a_kept_connection_asks_again_and_again(base: str) -> None:
    """Each answer gives its place back: many more than there are places, over one connection."""
    with httpx.Client(base_url=base) as client:
        for _ in range(3 * SEATS):
            asked = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
            assert client.post("/v1/chat/completions", json=asked).status_code == 200


def test_a_refused_client_that_goes_on_sending_is_answered_once(base: str) -> None:
    with ExitStack() as stack:
        crowd(stack, base)
        with connect(base) as late:
            late.sendall(f"{POST}Content-Length: 50000\r\n\r\n".encode())
            late.sendall(b"x" * 50_000)
            assert everything(late).count(b"HTTP/1.1 429 ") == 1
    assert answered_again(base)
