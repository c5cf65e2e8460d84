"""Whose word is taken for where a request comes from: that of the proxies which are listed, and nobody else's."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from edgechat.api.doors import server as http
from edgechat.api.routes import Table
from edgechat.cli.serve import listen
from edgechat.settings import Settings


class Echo:
    """An application that tells who asked it."""

    state = SimpleNamespace(gate=None, metrics=None, table=Table(()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        told = json.dumps({"client": scope["client"][0], "scheme": scope["scheme"]}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": told})


@contextmanager
def behind(*proxies: str) -> Iterator[str]:
    """A server that trusts these proxies."""
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(http.config(Settings(home=Path("/none"), trusted_proxies=proxies), Echo()))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize(
    ("proxies", "client", "scheme"),
    [
        ((), "127.0.0.1", "http"),
        (("10.9.9.9",), "127.0.0.1", "http"),  # another machine's
        (("127.0.0.1",), "203.0.113.7", "https"),
        (("127.0.0.0/8",), "203.0.113.7", "https"),
    ],
)
def test_only_listed_proxies_say_who_asks(proxies: tuple[str, ...], client: str, scheme: str) -> None:
    with behind(*proxies) as base:
        headers = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
        told: dict[str, Any] = httpx.get(base, headers=headers).json()
        assert told == {"client": client, "scheme": scheme}


def test_what_a_client_writes_itself_is_not_the_proxys_word() -> None:
    """A proxy appends; what stands before its own entry, the client may have made up."""
    with behind("127.0.0.1") as base:
        told = httpx.get(base, headers={"X-Forwarded-For": "6.6.6.6, 203.0.113.7"}).json()
        assert told["client"] == "203.0.113.7"
