"""A file at a plain address: its hash is the reference's, the server need not be trusted."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edgechat.errors import EdgechatError, HashMismatch, HubUnreachable, NotOnHub, UnsafeListing
from edgechat.hub import https
from edgechat.hub.https import Https
from edgechat.hub.reference import Link, parse
from tests.hub.conftest import Bench, made_up, sha256

CONTENT = made_up(11, 300_000)


@dataclass
class Site:
    """What the server does, and what it was asked."""

    url: str = ""
    etag: str = '"one"'
    content: bytes = CONTENT
    statuses: list[int] = field(default_factory=list)  # answers before the first good one
    cuts: list[int] = field(default_factory=list)  # bytes of the first bodies
    location: str = ""
    wrong_part: bool = False
    no_length: bool = False
    ranges: list[str | None] = field(default_factory=list)

    @property
    def link(self) -> Link:
        found = parse(f"{self.url}/models/a.gguf#sha256={sha256(CONTENT)}")
        assert isinstance(found, Link)
        return found


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Stay silent."""

    def do_HEAD(self) -> None:
        self._answer(None)

    def do_GET(self) -> None:
        self.site.ranges.append(self.headers.get("Range"))
        self._answer(self.site.content)

    def _answer(self, body: bytes | None) -> None:
        site = self.site
        if site.location and self.path.startswith("/models"):
            self._head(302, {"Location": site.location, "Content-Length": "0"})
        elif body is not None and site.statuses:
            self._head(site.statuses.pop(0), {"Retry-After": "0", "Content-Length": "0"})
        elif body is None:
            self._head(200, {} if site.no_length else {"Content-Length": str(len(site.content))})
        else:
            self._send(body)

    def _send(self, body: bytes) -> None:
        site, start = self.site, 0
        asked = self.headers.get("Range")
        if asked and self.headers.get("If-Range") == site.etag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        told = {"ETag": site.etag, "Content-Length": str(len(body) - start)}
        if start:
            told["Content-Range"] = f"bytes {0 if site.wrong_part else start}-{len(body) - 1}/{len(body)}"
        self._head(206 if start else 200, told)
        cut = site.cuts.pop(0) if site.cuts else len(body)
        self.wfile.write(body[start : start + cut])
        if start + cut < len(body):
            self.close_connection = True

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    made = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"site": made}))
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield made
    server.shutdown()
    server.server_close()


def fetch(site: Site, staging: Path) -> bytes:
    source = Https()
    source.fetch(source.resolve(site.link), staging)
    return (staging / "a.gguf").read_bytes()


async def test_a_link_is_pulled_and_never_changes(site: Site, bench: Bench) -> None:
    stored = await bench.pull(str(site.link))
    assert (stored.name, stored.sha256, stored.source) == ("a", sha256(CONTENT), str(site.link))
    assert await bench.pull(str(site.link)) == stored
    assert len(site.ranges) == 1


async def test_bytes_that_are_here_already_are_not_fetched_again(site: Site, bench: Bench) -> None:
    bench.put("Qwen/Same-GGUF/same.gguf", CONTENT)
    first = await bench.pull("modelscope:Qwen/Same-GGUF")
    second = await bench.pull(str(site.link))
    assert (first.name, second.name) == ("same", "a")
    assert first.files == second.files
    assert not site.ranges


async def test_other_bytes_are_not_published(site: Site, bench: Bench) -> None:
    site.content = made_up(12, 300_000)
    with pytest.raises(HashMismatch, match="is not what was asked for"):
        await bench.pull(str(site.link))
    assert bench.nothing_published


def test_a_line_that_is_cut_is_gone_on_with_at_the_byte(site: Site, tmp_path: Path) -> None:
    site.cuts = [100_000, 50_000]
    assert fetch(site, tmp_path) == CONTENT
    assert site.ranges == [None, "bytes=100000-", "bytes=150000-"]


def test_a_file_that_changed_meanwhile_is_fetched_anew(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.gguf.incomplete").write_bytes(b"of another time")
    (tmp_path / "a.gguf.etag").write_text('"zero"')
    assert fetch(site, tmp_path) == CONTENT


def test_without_an_etag_nothing_is_joined(site: Site, tmp_path: Path) -> None:
    site.etag, site.cuts = "W/weak", [100_000]
    assert fetch(site, tmp_path) == CONTENT
    assert site.ranges == [None, None]


def test_a_busy_server_is_asked_again_a_few_times(site: Site, tmp_path: Path) -> None:
    site.statuses = [503, 429, 500]
    assert fetch(site, tmp_path) == CONTENT
    site.statuses, again = [503] * 20, tmp_path / "again"
    again.mkdir()
    with pytest.raises(HubUnreachable, match="answers 503"):
        fetch(site, again)
    assert len(site.ranges) == 4 + https.TRIES


def arranged(**values: object) -> dict[str, object]:
    return values


@pytest.mark.parametrize(
    ("faults", "error", "says"),
    [
        (arranged(statuses=[404]), NotOnHub, "not there"),
        (arranged(statuses=[403]), NotOnHub, "not for everyone"),
        (arranged(cuts=[1000], wrong_part=True), UnsafeListing, "another part"),
        (arranged(location="/models/a.gguf"), HubUnreachable, "one redirect leads to the next"),
        (arranged(location="gopher://h/"), HubUnreachable, "cannot be fetched"),
    ],
)
def test_each_fault_has_its_line(
    site: Site, tmp_path: Path, faults: dict[str, object], error: type[EdgechatError], says: str
) -> None:
    for name, value in faults.items():
        setattr(site, name, value)
    with pytest.raises(error, match=says) as caught:
        fetch(site, tmp_path)
    assert "\n" not in str(caught.value)


async def test_a_redirect_to_this_machines_other_ports_is_not_followed(site: Site, bench: Bench) -> None:
    site.location = f"{bench.hub.url}/secret"
    with pytest.raises(UnsafeListing, match="not on the public network"):
        await bench.pull(str(site.link))
    assert not bench.hub.asked


def test_a_size_that_is_not_told_is_found_out(site: Site, tmp_path: Path) -> None:
    site.no_length = True
    assert Https().resolve(site.link).files[0].size is None
