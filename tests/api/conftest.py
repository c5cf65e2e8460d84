"""A real server on the fake engine, in a thread: requests go over a real socket."""

import gc
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgechat.api.app import create_app
from edgechat.api.doors import server as http
from edgechat.cli.serve import listen
from edgechat.cli.server import Server
from edgechat.runtime import Runtime
from edgechat.settings import Settings


@contextmanager
def serving(model: Path, home: Path, ready: bool = True, secret: str | None = None, **more: Any) -> Iterator[str]:
    """The address of a server, with the fake engine unless told otherwise; `ready` waits for its model.

    `secret` is what its card would say, if it had one.
    """
    runtime = Runtime(Settings(**{"engine": "fake", "model": str(model), "home": home, **more}))
    listener = listen("127.0.0.1", 0)
    app = create_app(runtime)
    app.state.secret = secret
    server = Server(http.config(runtime.settings, app), runtime)
    app.state.end = server.stop  # the process is the tests' own
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        deadline = time.monotonic() + 60
        while not server.started or (ready and runtime.readiness.state not in ("ready", "failed")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield base
    finally:
        server.should_exit = True
        thread.join()
        gc.unfreeze()  # this process goes on without that server


@pytest.fixture(scope="package")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that echoes, shared by all tests of the API."""
    folder = tmp_path_factory.mktemp("echo")
    (folder / "fake.json").write_text("{}")
    with serving(folder / "fake.json", folder / "home") as base:
        yield base


@pytest.fixture
def client(echo: str) -> Iterator[httpx.Client]:
    """A client of that server."""
    with httpx.Client(base_url=echo, timeout=10) as client:
        yield client


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a server whose model gives vectors of 8 numbers."""
    folder = tmp_path_factory.mktemp("embedder")
    (folder / "fake.json").write_text('{"dimensions": 8, "context": 64}')
    with serving(folder / "fake.json", folder / "home") as base, httpx.Client(base_url=base, timeout=10) as client:
        yield client
