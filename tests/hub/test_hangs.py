"""Hubs that are there and give no whole answer: given up in time, in one line, whichever library asks them."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path

import pytest

from edgechat.errors import HubUnreachable
from edgechat.hub import transfer
from edgechat.hub.reference import Repo, parse
from edgechat.hub.store import Store
from edgechat.settings import Settings
from tests.hub.conftest import Bench

TORTURE = bool(os.environ.get("EDGECHAT_TORTURE"))
PROMISE_S = 20.0
SOURCES = {
    "modelscope": "modelscope:Qwen/Tiny-GGUF",
    "hf": "hf:Qwen/Tiny-GGUF",
    "https": "{url}/tiny.gguf#sha256=" + "0" * 64,
    "pypi": "pypi:tiny-model==1.0",
}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
WAYS: dict[str, Callable[[], Iterator[bytes]]] = {
    "without a byte": lambda: iter(()),
    "after the headers": lambda: iter((HEAD,)),
    "in the middle": lambda: iter((HEAD, b'{"Code": 200, "Data": {"Files": [{"Path": "a')),
    "never, byte by byte": lambda: repeat(b"H"),
}

# A plain address is asked by HEAD first: there, headers alone are a whole answer; a body that stays away is a stall.
WHOLE = ("after the headers", "in the middle")
HANGS = [(source, way) for source in SOURCES for way in WAYS if source != "https" or way not in WHOLE]


class Mute:
    """A server on loopback that takes every question and says what `way` gives, and nothing after that."""

    def __init__(self, way: str) -> None:
        self._way = WAYS[way]
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._taken: list[socket.socket] = []
        threading.Thread(target=self._take, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def _take(self) -> None:
        while True:
            try:
                taken, _ = self._socket.accept()
            except OSError:
                return
            self._taken.append(taken)
            threading.Thread(target=self._say, args=(taken,), daemon=True).start()

    def _say(self, taken: socket.socket) -> None:
        try:
            if taken.recv(1 << 16):
                for piece in self._way():
                    taken.sendall(piece)
                    time.sleep(0.05)
        except OSError:
            pass  # whoever asked has gone

    def __enter__(self) -> "Mute":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        for taken in self._taken:
            taken.close()


async def given_up(tmp_path: Path, source: str, way: str, monkeypatch: pytest.MonkeyPatch) -> float:
    """Seconds until a pull from a hub that hangs in this way ended with its line."""
    if source == "hf":
        pytest.importorskip("huggingface_hub")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with Mute(way) as hub:
        monkeypatch.setenv("PIP_INDEX_URL", f"{hub.url}/simple")
        settings = Settings(home=tmp_path / "home", modelscope_endpoint=hub.url, hf_endpoint=hub.url)
        bench = Bench(hub=None, settings=settings, store=Store(settings.home))  # type: ignore[arg-type]
        began = time.monotonic()
        with pytest.raises(HubUnreachable) as caught:
            await bench.pull(SOURCES[source].format(url=hub.url))
        assert "\n" not in str(caught.value)
        assert bench.nothing_published
        return time.monotonic() - began


@pytest.mark.parametrize("source", SOURCES)
async def test_a_hub_that_drips_is_given_up(tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then keeps every library waiting: no limit of theirs ends it."""
    monkeypatch.setattr(transfer, "PATIENCE_S", 2.0)
    monkeypatch.setattr(transfer, "LEAST_PATIENCE_S", 2.0)
    await given_up(tmp_path, source, "never, byte by byte", monkeypatch)


@pytest.mark.skipif(not TORTURE, reason="minutes of waiting: EDGECHAT_TORTURE=1")
@pytest.mark.parametrize(("source", "way"), HANGS)
async def test_every_hang_ends_within_the_promise(
    tmp_path: Path, source: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await given_up(tmp_path, source, way, monkeypatch) < PROMISE_S


def test_several_ways_share_the_patience_of_one() -> None:
    one = parse(SOURCES["modelscope"])
    assert isinstance(one, Repo)
    alone = Settings()
    mirrored = Settings(modelscope_mirrors=("https://a.example", "https://b.example"))
    assert transfer.patience([one], alone) == transfer.PATIENCE_S
    assert transfer.patience([one], mirrored) == pytest.approx(transfer.PATIENCE_S / 3)
    assert transfer.patience([one] * 9, alone) == transfer.LEAST_PATIENCE_S
