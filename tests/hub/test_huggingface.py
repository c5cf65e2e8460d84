"""Models from Hugging Face: the real client against a loopback hub that speaks its routes."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from edgechat.errors import EdgechatError, HashMismatch, HubUnreachable, NotOnHub
from edgechat.hub.huggingface import ERRORS, translate
from tests.hub.conftest import Bench, made_up, sha256

COMMIT = "c0ffee" + "0" * 34
REFERENCE = "hf:Qwen/Tiny-GGUF"


@dataclass
class Site:
    """One repository, and what goes wrong."""

    files: dict[str, bytes] = field(default_factory=dict)
    lies: dict[str, bytes] = field(default_factory=dict)  # other bytes than the listed ones
    status: int | None = None
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Stay silent."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        site, parts = self.site, unquote(urlsplit(self.path).path).strip("/").split("/")
        site.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        match parts:
            case _ if site.status:
                self._send(site.status, b"{}", {"X-Error-Code": "RepoNotFound"} if site.status < 500 else {})
            case ["api", "models", "Qwen", "Tiny-GGUF", *_]:
                self._send(200, json.dumps(self._listing()).encode(), {"Content-Type": "application/json"})
            case ["Qwen", "Tiny-GGUF", "resolve", _, *path] if "/".join(path) in site.files:
                name = "/".join(path)
                etag = {"ETag": f'"{sha256(site.files[name])}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
                self._send(200, site.lies.get(name, site.files[name]), etag)
            case _:
                self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _listing(self) -> dict[str, object]:
        rows = [
            {"rfilename": name, "size": len(data), "blobId": "0" * 40,
             "lfs": {"sha256": sha256(data), "size": len(data), "pointerSize": 130}}
            for name, data in self.site.files.items()
        ]  # fmt: skip
        card = {"license": "apache-2.0"}
        return {"id": "Qwen/Tiny-GGUF", "modelId": "Qwen/Tiny-GGUF", "sha": COMMIT, "siblings": rows, "cardData": card}

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture
def site(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    pytest.importorskip("huggingface_hub", reason="Hugging Face's client is not installed: the extra hf")
    made = Site({"tiny-q4_k_m.gguf": made_up(), "README.md": b"# Tiny", "run.py": b"raise SystemExit"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"site": made}))
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    bench.settings = bench.settings.model_copy(update={"hf_endpoint": made.url})
    monkeypatch.setenv("HF_TOKEN", "secret-token")
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield made
    server.shutdown()
    server.server_close()


async def test_a_repository_is_pulled_at_its_commit_and_a_mirror_sees_no_token(site: Site, bench: Bench) -> None:
    stored = await bench.pull(REFERENCE)
    assert (stored.sha256, stored.revision, stored.licence) == (sha256(made_up()), COMMIT, "apache-2.0")
    assert (stored.name, stored.source) == ("tiny-q4_k_m", f"{REFERENCE}:tiny-q4_k_m.gguf")
    assert not any("secret-token" in str(headers) for _, headers in site.asked)
    assert not any("run.py" in path or "README" in path for path, _ in site.asked)
    before = len(site.asked)
    assert await bench.pull(REFERENCE) == stored
    assert len(site.asked) == before


async def test_other_bytes_than_listed_are_not_published(site: Site, bench: Bench) -> None:
    site.lies["tiny-q4_k_m.gguf"] = made_up(2)
    with pytest.raises(HashMismatch):
        await bench.pull(REFERENCE)
    assert bench.nothing_published


@pytest.mark.parametrize(("status", "error"), [(404, NotOnHub), (401, NotOnHub), (500, HubUnreachable)])
async def test_what_the_hub_refuses_is_one_line(
    site: Site, bench: Bench, status: int, error: type[EdgechatError]
) -> None:
    site.status = status
    with pytest.raises(error) as caught:
        await bench.pull(REFERENCE)
    assert "\n" not in str(caught.value)


def test_an_error_of_the_client_has_a_line_without_its_details() -> None:
    for name, (kind, reason) in ERRORS.items():
        foreign = type(name, (Exception,), {})("secret detail")
        ours = translate(foreign, "hf:a/b")
        assert (type(ours), str(ours)) == (kind, f"hf:a/b: {reason}.")
