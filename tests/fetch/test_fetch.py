"""Pictures by address: from listed hosts and public addresses alone, whatever names and redirects lead to."""

import copy
import subprocess
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from edgechat.api.addresses import MOST_ADDRESSES, fetched
from edgechat.errors import InvalidMedia
from edgechat.fetch import errand
from edgechat.fetch.errand import Fetcher
from tests.api.conftest import serving
from tests.conftest import ROOT, FakeModel
from tests.pictures import drawn, encoded

PNG = encoded(drawn(), "PNG")
MOST = 1 << 16


class Host(BaseHTTPRequestHandler):
    """Pictures, redirects and trouble."""

    asked: list[tuple[str, dict[str, str]]]

    def do_GET(self) -> None:
        type(self).asked.append((self.path, dict(self.headers)))
        status, headers, body = 200, {"Content-Type": "text/html"}, PNG
        match self.path.split("?"):
            case ["/to", where]:
                status, headers, body = 302, {"Location": where}, b""
            case ["/round"]:
                status, headers, body = 302, {"Location": "/round"}, b""
            case ["/gone"]:
                status, body = 404, b"no"
            case ["/large"]:
                body = bytes(MOST + 1)
            case ["/slow"]:
                time.sleep(3)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def host() -> Iterator[tuple[str, list[tuple[str, dict[str, str]]]]]:
    """A web server on loopback, as host:port, and what it was asked."""
    asked: list[tuple[str, dict[str, str]]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Host,), {"asked": asked}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


@pytest.fixture
def allowed(host: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> str:
    """The same server, which may be asked though it is not public: by a process of these tests, and no other."""
    where, pipe = host[0], subprocess.PIPE

    def start(module: str, stderr: int) -> subprocess.Popen[bytes]:
        command = (sys.executable, "-m", "tests.fetch.loopback", f"http://{where}")
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=stderr, cwd=ROOT, start_new_session=True)

    monkeypatch.setattr(errand, "spawn", start)
    return where


async def refused(url: str, *hosts: str) -> str:
    """Why nothing was fetched."""
    with pytest.raises(InvalidMedia) as why:
        await Fetcher(hosts).bring([url], MOST)
    assert "\n" not in str(why.value)
    return str(why.value)


async def test_what_lies_there_is_brought(allowed: str, host: tuple[str, Any]) -> None:
    urls = [f"http://{allowed}/a.png", f"http://{allowed}/to?/b.png"]
    assert await Fetcher([allowed]).bring(urls, MOST) == [PNG, PNG]
    assert [path for path, _ in host[1]] == ["/a.png", "/to?/b.png", "/b.png"]
    sent = {name.lower() for _, headers in host[1] for name in headers}
    assert sent <= {"host", "accept", "accept-encoding", "user-agent", "connection"}


async def test_a_host_that_is_not_listed_is_not_asked(allowed: str, host: tuple[str, Any]) -> None:
    name = allowed.partition(":")[0]
    for listed in ((), ("other.example",), (name,), (f"{name}:1",)):
        assert f"not fetched from {allowed}" in await refused(f"http://{allowed}/a.png", *listed)
    assert "not fetched from" in await refused(f"http://{allowed}@evil.example/a.png", allowed)
    assert "not fetched from" in await refused(f"http://me:secret@{allowed}/a.png", allowed)
    assert "not fetched from" in await refused(f"ftp://{allowed}/a.png", allowed)
    assert "of no picture" in await refused("http://[::1/a.png", allowed)
    assert host[1] == []


async def test_a_redirect_is_checked_as_the_first_address_is(allowed: str, host: tuple[str, Any]) -> None:
    other = f"http://localhost:{allowed.partition(':')[2]}/a.png"
    assert "not fetched from localhost" in await refused(f"http://{allowed}/to?{other}", allowed)
    assert "not fetched from 169.254.169.254" in await refused(f"http://{allowed}/to?http://169.254.169.254/", allowed)
    assert "leads to the next" in await refused(f"http://{allowed}/round", allowed)
    assert len(host[1]) == 2 + 4


async def test_a_listed_name_that_leads_home_is_not_asked(host: tuple[str, Any]) -> None:
    """By the process as it is: whatever a name stands for at the moment, no packet leaves to what is not public."""
    where, asked = host
    port = where.partition(":")[2]
    for name in (where, f"localhost:{port}", f"2130706433:{port}", f"[::ffff:127.0.0.1]:{port}", "169.254.169.254"):
        listed = name.strip("[]").replace("]", "")
        assert "is not on the public network" in await refused(f"http://{name}/a.png", listed, name)
    assert asked == []


async def test_proxies_of_this_machine_are_not_asked(host: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://{host[0]}")
    assert "public network" in await refused("http://127.0.0.2:9/a.png", "127.0.0.2:9")
    assert host[1] == []


async def test_what_comes_is_bounded_in_size_and_time(allowed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "answers 404" in await refused(f"http://{allowed}/gone", allowed)
    assert f"more than the {MOST} bytes" in await refused(f"http://{allowed}/large", allowed)
    assert await Fetcher([allowed]).bring([f"http://{allowed}/large"], MOST + 1) == [bytes(MOST + 1)]
    monkeypatch.setattr(errand, "LONGEST_S", 0.2)
    assert "did not come within 0 s" in await refused(f"http://{allowed}/slow", allowed)


# ── in a body ──


class Known(Fetcher):
    """Knows what lies everywhere."""

    def __init__(self) -> None:
        super().__init__(["x.example"])
        self.urls: list[str] = []

    async def bring(self, urls: Any, most: int) -> list[bytes]:
        self.urls += urls
        return [url.encode() for url in urls]


AT = "https://x.example/a.png"
BLOCK = {"type": "image", "source": {"type": "url", "url": AT}}


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"content": [{"type": "image_url", "image_url": {"url": AT}}]}]},
        {"messages": [{"content": [{"type": "image_url", "image_url": AT}]}]},
        {"input": [{"content": [{"type": "input_image", "image_url": AT}]}]},
        {"input": [{"type": "function_call_output", "output": [{"type": "input_image", "image_url": AT}]}]},
        {"messages": [{"content": [BLOCK]}]},
        {"messages": [{"content": [{"type": "tool_result", "content": [BLOCK]}]}]},
        {"messages": [{"images": [AT, f" {AT}"]}]},
        {"images": [AT]},
    ],
)  # fmt: skip
async def test_every_dialects_place_for_a_picture_is_known(body: dict[str, Any]) -> None:
    known = Known()
    told = str(await fetched(copy.deepcopy(body), known))
    assert known.urls == [AT]
    assert AT not in told
    assert b64decode(told.partition("data:;base64,")[2].partition("'")[0]).decode() == AT


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"content": AT}]},
        {"messages": [{"content": [{"type": "text", "text": AT, "image_url": AT}]}]},
        {"messages": [{"tool_calls": [{"function": {"arguments": {"image_url": AT, "images": [AT]}}}]}]},
        {"messages": [{"content": [{"type": "tool_use", "input": {"type": "image_url", "image_url": AT}}]}]},
        {"tools": [{"type": "image_url", "image_url": AT}], "input": AT, "messages": 5, "images": AT},
        {"input": [{"content": [{"type": "input_image", "image_url": "data:image/png;base64,AA=="}]}]},
        [AT],
        None,
    ],
)
async def test_no_other_text_is_an_address(body: Any) -> None:
    known, before = Known(), str(body)
    assert str(await fetched(body, known)) == before
    assert known.urls == []


async def test_addresses_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    many = {"images": [f"{AT}?{number}" for number in range(MOST_ADDRESSES + 1)]}
    with pytest.raises(InvalidMedia, match=f"{MOST_ADDRESSES} addresses at most, and there are {MOST_ADDRESSES + 1}"):
        await fetched(many, Known())
    monkeypatch.setattr("edgechat.api.addresses.MOST_BYTES", 5)
    with pytest.raises(InvalidMedia, match="more than 5 bytes together"):
        await fetched({"images": [AT]}, Known())


# ── through the server ──


@pytest.fixture
def question(allowed: str) -> dict[str, Any]:
    part = {"type": "image_url", "image_url": {"url": f"http://{allowed}/a.png"}}
    return {"messages": [{"role": "user", "content": [part, {"type": "text", "text": "What is it?"}]}]}


def test_a_listed_hosts_picture_is_seen(fake_model: FakeModel, allowed: str, question: dict[str, Any]) -> None:
    model = fake_model(senses=["picture"], reply="A flag.")
    with serving(model, model.parent / "home", picture_hosts=allowed) as base, httpx.Client(base_url=base) as client:
        answer = client.post("/v1/chat/completions", json=question, timeout=60)
        assert answer.json()["choices"][0]["message"]["content"] == "A flag."
        question["messages"][0]["content"][0]["image_url"]["url"] = "https://other.example/a.png"
        refused = client.post("/v1/chat/completions", json=question, timeout=60)
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (400, "invalid_media")
        assert error["message"].startswith("pictures are not fetched from other.example: ")
        broken = client.post("/v1/chat/completions", content=b"{", headers={"Content-Type": "application/json"})
        assert (broken.status_code, broken.json()["error"]["code"]) == (400, "invalid_request")


@pytest.mark.parametrize("listed", [{}, {"offline": True}], ids=["by default", "offline"])
def test_nothing_is_fetched_for_a_stranger(
    fake_model: FakeModel, allowed: str, question: dict[str, Any], host: tuple[str, Any], listed: dict[str, Any]
) -> None:
    model = fake_model(senses=["picture"])
    if listed:
        listed = listed | {"picture_hosts": allowed}
    with serving(model, model.parent / "home", **listed) as base, httpx.Client(base_url=base) as client:
        refused = client.post("/v1/chat/completions", json=question)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_media")
        assert "no address is asked here" in refused.json()["error"]["message"]
    assert host[1] == []
