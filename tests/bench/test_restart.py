import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edgechat.bench import alone, body, restart
from edgechat.bench.client import Client, Unmeasured, address
from tests.bench.conftest import Serve
from tests.bench.scripted import Script, Serving


async def probed(url: str, command: str) -> alone.Figures:
    async with Client(address("A", url, restart=command)) as client:
        return await alone.restart(client)


@asynccontextmanager
async def supervised(folder: Path, scripts: list[Script]) -> AsyncIterator[tuple[str, str]]:
    """A server's address, and the command that makes the second script's server follow the first one's."""
    flag, told, ended = folder / "flag", folder / "told", threading.Event()
    first = Serving(scripts[0])

    def supervise() -> None:
        while not flag.exists() and not ended.wait(0.01):
            pass
        first.stop()
        second = Serving(scripts[1], first.port)
        ended.wait()
        second.stop()

    supervisor = threading.Thread(target=supervise)
    supervisor.start()
    try:
        yield first.url, f'echo "$BENCH_URL" > {told}; touch {flag}'
    finally:
        ended.set()
        await asyncio.to_thread(supervisor.join)


@pytest.mark.alone
async def test_turn_two_after_a_restart(tmp_path: Path) -> None:
    """A server that remembers, but not over a restart."""
    scripts = [Script(read_s=0.0005, remembers=True) for _ in range(2)]
    async with supervised(tmp_path, scripts) as (url, command):
        found = await probed(url, command)
    assert found["ratio"] > 0.6
    assert (tmp_path / "told").read_text() == f"{url}\n"
    assert [body["max_tokens"] for body in scripts[0].bodies] == [alone.SENTENCE]
    assert [body["max_tokens"] for body in scripts[1].bodies] == [1, alone.SENTENCE]
    assert len(scripts[1].bodies[1]["messages"]) == 3


async def test_startup_counts_from_the_end_of_the_old_server(tmp_path: Path) -> None:
    slow = Script(token_s=0.2)  # at its first token too
    async with (
        supervised(tmp_path, [Script(), slow]) as (url, command),
        Client(address("A", url, restart=command)) as client,
    ):
        found = await body.startup(client)
    assert 200 <= found["ready"] <= found["whole"]


async def test_a_server_that_was_not_restarted_is_noticed(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restart, "GONE_S", 0.3)
    with pytest.raises(Unmeasured, match="was not restarted"):
        await probed(serve(Script()), "true")


async def test_a_command_that_fails_or_hangs(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    url = serve(Script())
    with pytest.raises(Unmeasured, match="failed with status 3"):
        await probed(url, "exit 3")
    monkeypatch.setattr(restart, "COMMAND_S", 0.3)
    with pytest.raises(Unmeasured, match="did not end within"):
        await probed(url, "exec sleep 60")


async def test_a_server_that_does_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restart, "UP_S", 0.3)
    async with Client(address("A", "http://127.0.0.1:9", restart="true")) as client:
        with pytest.raises(Unmeasured, match="gone before the restart"):
            await restart.restarted(client)
        with pytest.raises(Unmeasured, match="did not answer within"):
            await restart._up(client)
