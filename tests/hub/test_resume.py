"""Stopping a pull, by every means, and going on from the bytes that are there."""

import asyncio
import signal
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest

from edgechat.errors import EdgechatError
from edgechat.hub.pull import AnyPullEvent, Fetching, Published, pull
from tests.hub.conftest import Bench, children, made_up, sha256, tree

HERE = Path(__file__).parent.parent.parent
BIG = "modelscope:Qwen/Big-GGUF"


@pytest.fixture
def big(bench: Bench) -> Bench:
    """A model of 4 MB; the hub waits in the midst of it."""
    bench.put("Qwen/Big-GGUF/big.gguf", made_up(2, 4 << 20))
    bench.hub.hold_at(3 << 19)
    return bench


async def begin(bench: Bench, reference: str, enough: int = 1 << 20) -> list[int]:
    """Pull until `enough` bytes are there, then close the iterator. The bytes at each step."""
    seen = []
    async with aclosing(pull(reference, bench.settings, bench.store, bench.catalog)) as events:
        async for event in events:
            if isinstance(event, Fetching):
                seen.append(event.done)
                if event.done >= enough:
                    break
    return seen


async def test_closing_the_iterator_ends_the_child_and_keeps_the_bytes(big: Bench) -> None:
    seen = await begin(big, BIG)
    assert not children()
    kept = sum(size for path, size in tree(big.store.staging).items() if path.endswith(".incomplete"))
    assert 1 << 20 <= seen[-1] <= kept < 4 << 20
    assert big.nothing_published

    big.hub.release()
    assert (await big.pull(BIG)).sha256 == sha256(made_up(2, 4 << 20))
    assert [asked.range for asked in big.hub.files_asked] == [None, f"bytes={kept}-"]


async def test_cancelling_the_task_ends_the_child(big: Bench) -> None:
    task = asyncio.create_task(big.pull(BIG))
    while not children():
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not children()


async def test_bytes_of_another_version_are_not_joined(big: Bench) -> None:
    await begin(big, BIG)
    big.put("Qwen/Big-GGUF/big.gguf", made_up(3, 4 << 20))
    big.hub.release()
    assert (await big.pull(BIG)).sha256 == sha256(made_up(3, 4 << 20))
    assert [asked.range for asked in big.hub.files_asked] == [None, None]


async def test_a_killed_child_is_an_error_and_its_bytes_are_kept(big: Bench) -> None:
    with pytest.raises(EdgechatError, match="ended early"):
        async for event in pull(BIG, big.settings, big.store, big.catalog):
            if isinstance(event, Fetching) and event.done >= 1 << 20:
                for child in children():
                    child.kill()
    assert big.store.stage(BIG).staged() >= 1 << 20
    assert not children()


PULLER = """
import asyncio, sys
from pathlib import Path
from edgechat.hub.pull import Fetching, Published, pull
from edgechat.hub.store import Store
from edgechat.settings import Settings

async def main(home, endpoint, reference):
    settings = Settings(home=Path(home), modelscope_endpoint=endpoint)
    async for event in pull(reference, settings, Store(settings.home)):
        if isinstance(event, Fetching):
            print(event.done, flush=True)
        if isinstance(event, Published):
            print(event.model.sha256, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


def puller(bench: Bench, reference: str) -> "subprocess.Popen[str]":
    """A pull in a process of its own."""
    command = [sys.executable, "-c", PULLER, str(bench.settings.home), bench.hub.url, reference]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=HERE)


async def test_kill_9_leaves_no_child_and_the_next_pull_goes_on(big: Bench) -> None:
    with puller(big, BIG) as process:
        assert process.stdout is not None
        while int(await asyncio.to_thread(process.stdout.readline)) < 1 << 20:
            pass
        left = psutil.Process(process.pid).children(recursive=True)
        assert left
        process.send_signal(signal.SIGKILL)
    _, alive = await asyncio.to_thread(psutil.wait_procs, left, timeout=3)
    assert not alive
    assert big.store.list() == []

    big.hub.release()
    assert (await big.pull(BIG)).sha256 == sha256(made_up(2, 4 << 20))
    ranges = [asked.range for asked in big.hub.files_asked]
    assert len(ranges) == 2
    assert ranges[0] is None
    assert ranges[1] is not None


async def test_pulls_at_the_same_time_are_one_download(big: Bench) -> None:
    waiting = asyncio.Semaphore(0)

    async def one() -> list[AnyPullEvent]:
        events: list[AnyPullEvent] = []
        async for event in pull(BIG, big.settings, big.store, big.catalog):
            if isinstance(event, Fetching) and event.total and not any(isinstance(seen, Fetching) for seen in events):
                waiting.release()
            events.append(event)
        return events

    with puller(big, BIG) as process:
        assert process.stdout is not None
        pulls = [asyncio.create_task(one()) for _ in range(3)]
        for _ in pulls:
            await waiting.acquire()
        await asyncio.to_thread(process.stdout.readline)
        big.hub.release()  # now that all four see the bytes come
        results = await asyncio.gather(*pulls)
        lines = (await asyncio.to_thread(process.stdout.read)).split()
    last = {events[-1] for events in results}
    assert [type(event) for event in last] == [Published]
    assert lines[-1] == sha256(made_up(2, 4 << 20))
    assert len(big.hub.files_asked) == 1
