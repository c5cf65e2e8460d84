"""Other people's servers around edgechat, for real: gunicorn, nginx and Caddy as deploy/ has them."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from edgechat.keys import Keys
from edgechat.types import Limits
from tests.conftest import FakeModel
from tests.e2e.conftest import Server, free_port, run, serve, started

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
GUNICORN = Path(sys.executable).with_name("gunicorn")
ASK = {"messages": [{"role": "user", "content": "x"}], "stream": True, "max_tokens": 400}
TALE = " ".join(map(str, range(400)))
BEHIND = 12  # events: what a proxy would hold back fills at least twice as many


@contextmanager
def running(command: list[str], until: Callable[[], bool], **environ: str) -> Iterator[Server]:
    """A server of somebody else, once `until` says that it is up."""
    with started(command, environ) as server:
        deadline = time.monotonic() + 60
        while not until():
            assert time.monotonic() < deadline, server.words
            assert server.process.poll() is None, server.words
            time.sleep(0.05)
        yield server


def answers(url: str, **headers: str) -> Callable[[], bool]:
    """Whether something answers at `url`."""

    def asked() -> bool:
        try:
            return httpx.get(url, headers=headers, timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    return asked


# ── gunicorn ──


def gunicorn(port: int, *more: str) -> list[str]:
    return [str(GUNICORN), "-c", str(DEPLOY / "gunicorn.conf.py"), "-b", f"127.0.0.1:{port}", *more]


def environ(fake_model: FakeModel, **script: object) -> dict[str, str]:
    return {"EDGECHAT_ENGINE": "fake", "EDGECHAT_MODEL": str(fake_model(**script)), "EDGECHAT_DRAIN": "20"}


def test_gunicorn_serves_ends_politely_and_has_one_writer(fake_model: FakeModel) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    around = environ(fake_model, reply=TALE, step_ms=20)
    with running(gunicorn(port), answers(f"{base}/readyz"), **around) as server:
        assert run("status", "--json").returncode == 0  # it is found by its card
        second = subprocess.run(
            gunicorn(free_port()), capture_output=True, text=True, check=False, timeout=60, env=_env(around)
        )
        assert second.returncode == 4
        assert "another server uses" in second.stderr
        assert "Traceback" not in second.stderr
        family = psutil.Process(server.process.pid).children(recursive=True)
        with httpx.stream("POST", f"{base}/v1/chat/completions", json=ASK | {"max_tokens": 100}, timeout=60) as answer:
            lines = answer.iter_lines()
            next(lines)
            server.process.send_signal(signal.SIGTERM)
            state = ""
            while state != "draining":
                state = httpx.get(f"{base}/readyz").json()["state"]
            assert httpx.post(f"{base}/chat", json={"input": "x"}).status_code == 503
            assert [line for line in lines if line][-1] == "data: [DONE]"
        assert server.process.wait(30) == 0
        _, alive = psutil.wait_procs(family, timeout=10)
        assert not alive


def test_gunicorn_starts_a_process_again_that_died(fake_model: FakeModel) -> None:
    port = free_port()
    up = answers(f"http://127.0.0.1:{port}/readyz")
    with running(gunicorn(port), up, **environ(fake_model)) as server:
        (worker,) = psutil.Process(server.process.pid).children()
        worker.kill()
        worker.wait(10)
        deadline = time.monotonic() + 60
        while not up():
            assert time.monotonic() < deadline, server.words


def test_uvicorns_own_worker_serves_the_same_application(fake_model: FakeModel) -> None:
    port = free_port()
    command = [str(GUNICORN), "-w", "1", "-k", "uvicorn_worker.UvicornWorker", "-b", f"127.0.0.1:{port}"]
    command += ["--no-control-socket", "edgechat.gunicorn:create()"]
    base = f"http://127.0.0.1:{port}"
    with running(command, answers(f"{base}/readyz"), **environ(fake_model, reply="Hello.")):
        assert httpx.post(f"{base}/chat", json={"input": "x"}).json() == {"reply": "Hello."}


def _env(more: dict[str, str]) -> dict[str, str]:
    return os.environ | more


# ── proxies ──


@pytest.fixture
def slow(fake_model: FakeModel, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The address of a server behind a proxy that says an event in 250 ms, and an operator's key."""
    key = Keys(tmp_path / "home" / "keys.json").add("ann", True, (), Limits())[1]
    model = str(fake_model(reply=TALE, step_ms=250))
    trusted = {"EDGECHAT_TRUSTED_PROXIES": "127.0.0.1", "EDGECHAT_HOSTS": "chat.example.org"}
    with serve("--engine", "fake", "--model", model, **trusted) as server:
        yield server.ready(), key


def events_come_as_they_are_said(proxy: str, server: str, key: str, host: str) -> None:
    """Read some of an answer through `proxy`, and ask `server` how much it has said meanwhile."""
    headers = {"x-api-key": key, "Host": host}
    with httpx.stream("POST", f"{proxy}/v1/chat/completions", json=ASK, headers=headers, timeout=60) as answer:
        assert answer.status_code == 200, answer.read()
        lines = answer.iter_lines()  # a loop that is left would close the connection
        for _ in range(3):
            next(line for line in lines if line.startswith("data: "))
        now = httpx.get(f"{server}/api/dash/status", headers={"x-api-key": key}).json()
    (request,) = now["requests"]
    print(f"{request['said']} tokens were said when the third event had come through")
    assert request["said"] < BEHIND


def nginx(tmp_path: Path, inside: str) -> list[str]:
    """nginx with `inside` in its http block, in the foreground, in a folder of its own."""
    folders = "".join(
        f"{name}_temp_path {tmp_path}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    head = f"daemon off; master_process off; pid {tmp_path}/nginx.pid; error_log stderr; events {{}}"
    (tmp_path / "nginx.conf").write_text(f"{head}\nhttp {{ access_log off; {folders}\n{inside}\n}}\n")
    return ["nginx", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]


def shipped(port: int, server: str) -> str:
    """deploy/nginx.conf on a port of this test, without its certificate."""
    text = (DEPLOY / "nginx.conf").read_text()
    text, certificates = re.subn(r"^\s*ssl_.*\n", "", text, flags=re.MULTILINE)
    assert certificates == 2
    return _put(_put(text, "listen 443 ssl;", f"listen 127.0.0.1:{port};"), "127.0.0.1:8080", server.split("//")[1])


def _put(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


def plain(port: int, server: str) -> str:
    """What somebody writes who knows nothing of streams."""
    return f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {server}; }} }}"


@pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed: its configuration is not tried")
@pytest.mark.parametrize("make", [shipped, plain], ids=["as shipped", "nginx's defaults"])
def test_nginx_lets_streams_through(slow: tuple[str, str], tmp_path: Path, make: Callable[[int, str], str]) -> None:
    (server, key), port = slow, free_port()
    proxy = f"http://127.0.0.1:{port}"
    host = "chat.example.org" if make is shipped else f"127.0.0.1:{port}"
    with running(nginx(tmp_path, make(port, server)), answers(f"{proxy}/healthz", Host=host)):
        events_come_as_they_are_said(proxy, server, key, host)


@pytest.mark.skipif(not shutil.which("caddy"), reason="caddy is not installed: its configuration is not tried")
def test_caddy_lets_streams_through(slow: tuple[str, str], tmp_path: Path) -> None:
    (server, key), port = slow, free_port()
    text = (DEPLOY / "Caddyfile").read_text()
    text = _put(text, "chat.example.org {", f"http://chat.example.org:{port} {{\n\tbind 127.0.0.1\n")
    text = _put(text, "127.0.0.1:8080", server.split("//")[1])
    (tmp_path / "Caddyfile").write_text("{\n\tadmin off\n}\n" + text)
    proxy, host = f"http://127.0.0.1:{port}", "chat.example.org"
    command = ["caddy", "run", "--config", str(tmp_path / "Caddyfile"), "--adapter", "caddyfile"]
    with running(command, answers(f"{proxy}/healthz", Host=host), XDG_DATA_HOME=str(tmp_path), HOME=str(tmp_path)):
        events_come_as_they_are_said(proxy, server, key, host)


def a_page_works_under_a_path(proxy: str, key: str) -> None:
    """The page, its dashboard, and what they ask as a browser asks it, on a port that is not the usual one."""
    assert httpx.get(f"{proxy}/chat", headers={"x-api-key": key}).headers["location"].endswith("/chat/")
    for page in ("", "dashboard"):
        assert "edgechat" in httpx.get(f"{proxy}/chat/{page}").text
    headers = {"x-api-key": key, "Origin": proxy, "Sec-Fetch-Site": "same-origin"}
    asked = httpx.post(f"{proxy}/chat/tokenize", json={"content": "hello"}, headers=headers)
    assert asked.status_code == 200, asked.text


@pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed: its configuration is not tried")
def test_nginx_may_have_it_under_a_path(slow: tuple[str, str], tmp_path: Path) -> None:
    (server, key), port = slow, free_port()
    text = _put(shipped(port, server), "    location / {", "    location /chat/ {")
    text = _put(text, "proxy_pass http://edgechat;", "proxy_pass http://edgechat/;")
    proxy = f"http://127.0.0.1:{port}"
    with running(nginx(tmp_path, text), answers(f"{proxy}/chat/healthz")):
        a_page_works_under_a_path(proxy, key)


@pytest.mark.skipif(not shutil.which("caddy"), reason="caddy is not installed: its configuration is not tried")
def test_caddy_may_have_it_under_a_path(slow: tuple[str, str], tmp_path: Path) -> None:
    (server, key), port = slow, free_port()
    _, site = (DEPLOY / "Caddyfile").read_text().split("\nchat.example.org {")
    text = f"redir /chat /chat/\nhandle_path /chat/* {{{_put(site, '127.0.0.1:8080', server.split('//')[1])}}}"
    (tmp_path / "Caddyfile").write_text(f"{{\n\tadmin off\n}}\nhttp://127.0.0.1:{port} {{\n{text}\n")
    proxy = f"http://127.0.0.1:{port}"
    command = ["caddy", "run", "--config", str(tmp_path / "Caddyfile"), "--adapter", "caddyfile"]
    with running(command, answers(f"{proxy}/chat/healthz"), XDG_DATA_HOME=str(tmp_path), HOME=str(tmp_path)):
        a_page_works_under_a_path(proxy, key)
