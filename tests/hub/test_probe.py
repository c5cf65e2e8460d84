"""Whether a hub can be reached, and the reason when it cannot."""

import asyncio
import errno
import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from edgechat.errors import HubUnreachable
from edgechat.hub import probe


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def closed() -> int:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def address(server: socket.socket) -> str:
    return f"127.0.0.1:{server.getsockname()[1]}"


async def test_a_listening_hub_is_reachable_and_gets_no_byte(listener: socket.socket) -> None:
    await probe.reachable(f"http://{address(listener)}/some/path")
    connection, _ = listener.accept()
    with connection:
        assert connection.recv(1) == b""


async def test_a_closed_port_refuses(closed: int) -> None:
    with pytest.raises(HubUnreachable, match=rf"127\.0\.0\.1:{closed} cannot be reached: it refuses"):
        await probe.reachable(f"http://127.0.0.1:{closed}")


async def test_a_name_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(HubUnreachable, match=r"hub\.invalid:443 cannot be reached: its name cannot be resolved"):
        await probe.reachable("https://hub.invalid")


async def test_a_resolver_that_hangs_costs_the_timeout_only(monkeypatch: pytest.MonkeyPatch) -> None:
    held = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: held.wait(20) and [])
    started = time.monotonic()
    with pytest.raises(HubUnreachable, match=r"does not answer within 0\.2 s"):
        await probe.reachable("https://hub.invalid", timeout=0.2)
    assert time.monotonic() - started < 2
    held.set()


async def test_an_address_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silence(family: int, address: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(probe, "_connect_one", silence)
    with pytest.raises(HubUnreachable, match=r"does not answer within 0\.1 s"):
        await probe.reachable("http://127.0.0.1:9", timeout=0.1)


@pytest.mark.parametrize("number", [errno.ENETUNREACH, errno.EHOSTUNREACH])
async def test_no_route(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    async def nowhere(family: int, address: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(probe, "_connect_one", nowhere)
    with pytest.raises(HubUnreachable, match="there is no route to it"):
        await probe.reachable("http://127.0.0.1:9")


async def test_one_address_that_answers_is_enough(monkeypatch: pytest.MonkeyPatch, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    rows = [(socket.AF_INET, 1, 6, "", (host, port)) for host in ("127.0.0.2", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: rows)
    await probe.reachable(f"http://two.test:{port}")


async def test_the_proxy_is_asked_instead(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket, closed: int
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", address(listener))
    await probe.reachable("https://hub.invalid")
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:secret@127.0.0.1:{closed}")
    with pytest.raises(HubUnreachable, match=rf"the proxy 127\.0\.0\.1:{closed} cannot be reached") as caught:
        await probe.reachable("https://hub.invalid")
    assert "secret" not in str(caught.value)


async def test_no_proxy_exempts_a_host(monkeypatch: pytest.MonkeyPatch, listener: socket.socket, closed: int) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    await probe.reachable(f"http://{address(listener)}")
