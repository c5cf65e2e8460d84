"""A ModelScope hub on loopback: the two routes that the SDK reads models by, and the ways a hub can go wrong.

As a test's fixture: `FakeHub(root)`, then `hub.faults`. By hand:

    python tests/hub/fakehub.py 18080 ROOT        # ROOT/owner/name/files…
    MODELSCOPE_ENDPOINT=http://127.0.0.1:18080 edgechat pull modelscope:owner/name
"""

import hashlib
import json
import sys
import threading
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

CHUNK = 64 << 10  # bytes


@dataclass
class Faults:
    """What the hub does wrong. All off: it does nothing wrong."""

    list_status: int | None = None
    list_page: bool = False  # a login page, with status 200
    extra_rows: list[dict[str, Any]] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)  # what the listing claims, by path
    upper_case: bool = False
    no_hash: bool = False
    list_hangs: bool = False  # takes the question, gives no answer until `release`
    file_status: int | None = None
    file_page: bool = False  # a login page for the bytes, with status 200
    redirect: str | None = None  # where the bytes are said to be
    wrong_bytes: bool = False
    empty: bool = False  # no byte, with status 200
    cut_after: int | None = None  # bytes of a body, once
    hold_at: int | None = None  # bytes of a body, until `release`
    ignore_range: bool = False


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]

    @property
    def is_file(self) -> bool:
        """Whether it asked for bytes (each file costs two: the hub's redirect and the store behind it)."""
        return self.path.startswith("/lfs/")

    @property
    def range(self) -> str | None:
        """The Range header."""
        return self.headers.get("range")


class FakeHub:
    """The server, in a thread of its own."""

    def __init__(self, root: Path, port: int = 0) -> None:
        self.root = root.resolve()
        self.faults = Faults()
        self.asked: list[Asked] = []
        self._released = threading.Event()
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.hub = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def files_asked(self) -> list[Asked]:
        """The requests for bytes."""
        return [asked for asked in self.asked if asked.is_file]

    def hold_at(self, count: int) -> None:
        """From here on, give `count` bytes of a body and then none until `release`."""
        self.faults.hold_at = count
        self._released.clear()

    def release(self) -> None:
        """Go on, and hold no more."""
        self.faults.hold_at = None
        self._released.set()

    def wait(self) -> None:
        """Wait for `release`."""
        self._released.wait()

    def __enter__(self) -> "FakeHub":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self._server.shutdown()
        self._server.server_close()

    def serve(self) -> None:
        """Serve in this thread until interrupted."""
        self._server.serve_forever()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    hub: FakeHub

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the base class names it)
        """Stay silent; `asked` has it all."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.hub.asked.append(Asked(url.path, query, headers))
        match [unquote(part) for part in url.path.strip("/").split("/")]:
            case ["api", "v1", "models", owner, name, "repo", "files"]:
                self._list(owner, name, query)
            case ["api", "v1", "models", owner, name, "repo"]:
                self._file(owner, name, query)
            case ["lfs", owner, name, *path]:
                self._bytes(self.server.hub.root / owner / name / "/".join(path))
            case _:
                self._json(404, {"Code": 404, "Message": "no such route", "Success": False})

    def _list(self, owner: str, name: str, query: dict[str, str]) -> None:
        faults, folder = self.server.hub.faults, self.server.hub.root / owner / name
        if faults.list_hangs:
            self.server.hub.wait()
            self.close_connection = True
        elif faults.list_status:
            self._json(faults.list_status, {"Code": faults.list_status, "Message": "trouble", "Success": False})
        elif faults.list_page:
            self._send(200, b"<html>Please log in</html>", "text/html")
        elif not folder.is_dir():
            self._json(404, {"Code": 10010205001, "Message": "模型不存在", "Success": False})
        elif query.get("Revision", "master") != "master":
            self._json(200, {"Code": 200, "Data": {"Files": None}, "Message": "success", "Success": True})
        else:
            rows = [self._row(path, folder) for path in sorted(folder.rglob("*"))] + faults.extra_rows
            self._json(200, {"Code": 200, "Data": {"Files": rows}, "Message": "success", "Success": True})

    def _row(self, path: Path, folder: Path) -> dict[str, Any]:
        faults, name = self.server.hub.faults, path.relative_to(folder).as_posix()
        if path.is_dir():
            return {
                "IsLFS": False,
                "Mode": "16384",
                "Name": path.name,
                "Path": name,
                "Sha256": "",
                "Size": 0,
                "Type": "tree",
            }
        sha256 = "" if faults.no_hash else sha256_of(path, path.stat().st_mtime_ns)
        return {
            "IsLFS": True,
            "Mode": "33188",
            "Name": path.name,
            "Path": name,
            "Revision": "0" * 40,
            "Sha256": sha256.upper() if faults.upper_case else sha256,
            "Size": faults.sizes.get(name, path.stat().st_size),
            "Type": "blob",
        }

    def _file(self, owner: str, name: str, query: dict[str, str]) -> None:
        faults, path = self.server.hub.faults, query.get("FilePath", "")
        target = self.server.hub.root / owner / name / path
        if faults.file_status:
            self._json(faults.file_status, {"Code": faults.file_status, "Message": "trouble", "Success": False})
        elif query.get("Revision") != "master" or ".." in target.parts or not target.is_file():
            message = "获取模型文件失败，文件内容为空"
            self._json(404, {"Code": 10990101007, "Message": message, "Success": False})
        else:
            self.send_response(302)
            self.send_header("Location", faults.redirect or f"/lfs/{owner}/{name}/{path}")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _bytes(self, path: Path) -> None:
        faults, size = self.server.hub.faults, path.stat().st_size
        if faults.empty or faults.file_page:
            body = b"<html>Please log in</html>" if faults.file_page else b""
            self._send(200, body, "text/html" if body else "application/octet-stream")
            return
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").partition("-")[0]) if asked and not faults.ignore_range else 0
        if start >= size:
            self._send(416, b"", "text/plain")
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        cut, faults.cut_after = faults.cut_after, None
        if faults.hold_at is not None:
            self._pour(path, start, faults.hold_at)
            start = max(start, faults.hold_at)
            self.server.hub.wait()
        self._pour(path, start, size if cut is None else min(start + cut, size))
        if cut is not None:
            self.close_connection = True

    def _pour(self, path: Path, start: int, end: int) -> None:
        with path.open("rb") as file:
            file.seek(start)
            while start < end:
                chunk = file.read(min(CHUNK, end - start))
                start += len(chunk)
                self.wfile.write(chunk.swapcase() if self.server.hub.faults.wrong_bytes else chunk)

    def _json(self, status: int, body: dict[str, Any]) -> None:
        self._send(status, json.dumps(body).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@cache
def sha256_of(path: Path, changed: int) -> str:
    """The hash of the file as it was when it was last `changed`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    hub = FakeHub(Path(sys.argv[2]), int(sys.argv[1]))
    sys.stderr.write(f"{hub.root} is at {hub.url}\n")
    try:
        hub.serve()
    except KeyboardInterrupt:
        pass
