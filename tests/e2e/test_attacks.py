"""Whatever strangers do to a server, it goes on telling that it is alive; who is refused hears it soon and politely.

/healthz is asked for every 20 ms by a process of its own while each attack lasts. Times are printed; what is asserted
is that everybody is answered, and nobody has to wait for long.
"""

import json
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.conftest import SERVE, Server, serve, started
from tests.e2e.crowd import rush
from tests.e2e.prober import Probes, probing

TORTURE = "EDGECHAT_TORTURE" in os.environ
LASTS_S = 15.0 if TORTURE else 0.4
BURSTS = 20 if TORTURE else 1
LONGEST_S = 5.0  # that nobody's probe may take, on the slowest of machines
POST = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}

pytestmark = pytest.mark.alone

Attack = Callable[[str, float], None]  # the server's address; until when, by the steady clock


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("attacked")
    (folder / "fake.json").write_text(json.dumps({"step_ms": 5}))
    with serve("--engine", "fake", "--model", str(folder / "fake.json"), EDGECHAT_HOME=str(folder / "home")) as server:
        server.ready()
        yield server


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def check(probes: Probes) -> None:
    assert probes.statuses == {200}
    assert max(probes.seconds) < LONGEST_S


# ── the attacks ──


def a_byte_now_and_then(url: str, until: float) -> None:
    """1,000 connections, each with a request that never ends; who is thrown out comes again."""
    port, head = port_of(url), f"{POST}X-Long: ".encode()
    with ExitStack() as stack:
        lines: dict[int, socket.socket] = {}
        sent = Counter[int]()
        while time.monotonic() < until:
            began = time.monotonic()
            for number in range(1_000):
                if number not in lines:
                    line = socket.create_connection(("127.0.0.1", port), 10, (f"127.0.0.{2 + number % 5}", 0))
                    lines[number] = stack.enter_context(line)
                try:
                    lines[number].send((head + b"x" * 100)[sent[number] % 100 :][:1])
                    sent[number] += 1
                except OSError:
                    lines.pop(number).close()
            time.sleep(max(0.0, min(began + 1.0, until) - time.monotonic()))


def bodies(*made: bytes) -> Attack:
    """One such body after the other."""

    def send(url: str, until: float) -> None:
        with httpx.Client(base_url=url, timeout=60, headers=JSON) as client:
            while time.monotonic() < until:
                for body in made:
                    with suppress(httpx.TransportError):  # refused before all of it was sent
                        assert client.post(CHAT, content=body).status_code in (200, 400, 413, 429)

    return send


def forty_megabytes(url: str, until: float) -> None:
    """Announced, and not announced."""

    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * (1 << 20)

    with httpx.Client(base_url=url, timeout=60, headers=JSON) as client:
        while time.monotonic() < until:
            for content in (b" " * (40 << 20), chunks()):
                with suppress(httpx.TransportError):
                    assert client.post(CHAT, content=content).status_code == 413


def asked(**more: Any) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": "x"}], "max_tokens": 5} | more).encode()


def schema(**fields: Any) -> bytes:
    described = {"type": "object", "properties": {"a": fields}}
    return asked(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": described}})


def deep(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"type": "object"}
    for _ in range(levels):
        inner = {"type": "object", "properties": {"a": inner}}
    return inner


NESTED = bodies(
    b"[" * 2_000_000 + b"]" * 2_000_000,
    b'{"messages":[' + b"[]," * 1_200_000 + b"[]]}",
    b'{"messages":[{"role":"assistant","tool_calls":[' + b"1," * 1_900_000 + b"1]}]}",
    b'{"messages":[{"role":"user","content":[' + b'{"type":"text","text":1},' * 140_000 + b"1]}]}",
    b"{" + b",".join(b'"%x":0' % name for name in range(300_000)) + b"}",
    asked(messages=[{"role": "user", "content": [{"type": "text", "text": "x"}] * 9_000}]),
    asked(messages=[{"role": "user", "content": "x"}] * 9_900),
    asked(**{f"unknown{number}": 1 for number in range(4_000)}),
)
SCHEMAS = bodies(
    schema(type="string", pattern="(" * 30_000 + ")" * 30_000),
    schema(type="string", pattern="(a+)+" * 100 + "$"),
    schema(type="string", pattern="[", minLength=-1),
    schema(**deep(20)),
    schema(type="string", enum=[f"{number:0100}" for number in range(10_000)]),
    schema(type="array", items={"type": "integer"}, minItems=100_000),
    schema(anyOf=[{"type": "string", "pattern": f"^{number}a{{1,200}}$"} for number in range(200)]),
)
ATTACKS: dict[str, Attack] = {
    "1,000 connections, a byte a second": a_byte_now_and_then,
    "a body of 40 MB": forty_megabytes,
    "nested and manifold JSON": NESTED,
    "hostile schemas": SCHEMAS,
    "prompts of 2 MB": bodies(asked(messages=[{"role": "user", "content": "word " * 400_000}])),
    "hostile template options": bodies(
        asked(chat_template_kwargs={"tokenize": True}),
        asked(chat_template="{{ 'x' * 10**9 }}"),
        asked(chat_template_kwargs={"enable_thinking": "x" * 1_000_000}),
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_the_server_says_that_it_lives(server: Server, name: str) -> None:
    url = server.url()
    workers = [child.pid for child in psutil.Process(server.process.pid).children(recursive=True)]
    with probing(port_of(url)) as probes:
        ATTACKS[name](url, time.monotonic() + LASTS_S)
    print(f"{name}: {probes.row()}")
    check(probes)
    assert [child.pid for child in psutil.Process(server.process.pid).children(recursive=True)] == workers
    assert httpx.post(f"{url}{CHAT}", json=json.loads(asked()), timeout=60).status_code == 200


@pytest.mark.skipif(not TORTURE, reason="takes all the time that a template may take; `make torture` runs it")
def test_a_template_without_end_holds_nobody_up(tmp_path: Path) -> None:
    """A model whose template never comes to its end is refused; the server lives until it has said so."""
    endless = (
        "{% for a in range(99999) %}{% for b in range(99999) %}{% if a < b < a %}x{% endif %}{% endfor %}{% endfor %}"
    )
    (tmp_path / "fake.json").write_text(json.dumps({"template": endless}))
    with serve("--engine", "fake", "--model", str(tmp_path / "fake.json")) as server:
        port = port_of(server.url())
        with probing(port) as probes:
            server.said(r"(the model's chat template)", 60)
        seconds = [took for took in probes.seconds if took < LONGEST_S]
        server.process.wait(20)
    print(f"a hostile template: {probes.row()}")
    assert len(seconds) > 10
    assert probes.statuses <= {200, 0}  # it ended meanwhile
    assert server.process.returncode == 1


SLOW = 200  # readers
READ_S = 30.0  # that a client may take over what was sent


@pytest.mark.skipif(not TORTURE, reason="waits until slow readers are dropped; `make torture` runs it")
def test_readers_that_never_read_cost_little_and_are_dropped(tmp_path: Path) -> None:
    """Answers of 4,000 tokens to sockets that take in a kilobyte: their places come back, and so does their memory."""
    reply = " ".join(map(str, range(20_000)))
    (tmp_path / "fake.json").write_text(json.dumps({"reply": reply, "context": 100_000, "step_ms": 1}))
    more = {"EDGECHAT_QUEUE": str(SLOW), "EDGECHAT_HOME": str(tmp_path / "home")}
    with serve("--engine", "fake", "--model", str(tmp_path / "fake.json"), **more) as server, ExitStack() as stack:
        port = port_of(server.ready())
        process = psutil.Process(server.process.pid)
        before, files = process.memory_info().rss, process.num_fds()
        body = asked(stream=True, max_tokens=4_000)
        for _ in range(SLOW):
            line = stack.enter_context(socket.socket())
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            line.connect(("127.0.0.1", port))
            line.sendall(f"{POST}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        began, most = time.monotonic(), 0
        with probing(port) as probes:
            while process.num_fds() > files + 1:  # one for the prober
                most = max(most, process.memory_info().rss)
                assert time.monotonic() < began + 30 * READ_S, "a reader that does not read is not dropped"
                time.sleep(0.2)
        took, each = time.monotonic() - began, (most - before) / SLOW
        print(f"{SLOW} readers that never read: {each / 1024:.0f} KB each, gone after {took:.0f} s; {probes.row()}")
        check(probes)
        assert each < 1 << 20
        assert httpx.post(f"{server.url()}{CHAT}", json=json.loads(asked()), timeout=60).status_code == 200


CAP = 256 << 20  # bytes


@contextmanager
def memory_group(most: int) -> Iterator[Path]:
    """A control group whose processes have at most so many bytes together. Skips the test where it cannot be made."""
    first = Path("/sys/fs/cgroup/memory")  # version 1
    group = (first if first.is_dir() else Path("/sys/fs/cgroup")) / "edgechat-test"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if first.is_dir() else "memory.max")).write_text(str(most))
    except OSError as error:
        pytest.skip(f"a control group for memory cannot be made here: {error.strerror}")
    try:
        yield group
    finally:
        group.rmdir()


@pytest.mark.skipif(not TORTURE, reason="needs a control group of its own for a while; `make torture` runs it")
def test_a_limit_of_memory_is_not_reached_by_hostile_bodies(tmp_path: Path) -> None:
    (tmp_path / "fake.json").write_text("{}")
    with memory_group(CAP) as group:
        enter = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
        command = [*enter, *SERVE, "--engine", "fake", "--model", str(tmp_path / "fake.json")]
        with started(command, {"EDGECHAT_HOME": str(tmp_path / "home")}) as server:
            url = server.ready()
            process = psutil.Process(server.process.pid)
            everyone, most = [process, *process.children(recursive=True)], 0
            for name in ("a body of 40 MB", "nested and manifold JSON", "prompts of 2 MB", "hostile schemas"):
                ATTACKS[name](url, time.monotonic() + LASTS_S)
                most = max(most, sum(one.memory_info().rss for one in everyone))
            rush(port_of(url), 1_000)
            assert all(one.is_running() for one in everyone)
            assert httpx.post(f"{url}{CHAT}", json=json.loads(asked()), timeout=60).status_code == 200
            server.process.terminate()
            server.process.wait(20)
    print(f"hostile bodies within {CAP >> 20} MB: at most {most >> 20} MB were held; nobody was killed")


def test_a_burst_is_met_politely(server: Server) -> None:
    """1,000 ask within a tenth of a second: who has a place is answered whole, everyone else is told when to come."""
    url, ends, refusals = server.url(), Counter[str](), []
    with probing(port_of(url)) as probes:
        for _ in range(BURSTS):
            told = rush(port_of(url), 1_000)
            ends.update(end for _, end in told)
            refusals += [seconds for seconds, end in told if end in ("429", "503")]
    check(probes)
    refusals.sort()
    p99 = refusals[int(0.99 * (len(refusals) - 1))] * 1000
    print(f"{BURSTS} bursts of 1,000: {dict(ends)}; refusals p99 {p99:.0f} ms; {probes.row()}")
    assert set(ends) <= {"200", "429", "503"}
    assert ends["200"] >= BURSTS
    assert refusals
