"""What every child of ours is: a session of its own, without secrets, silent but for letters, gone with its parent."""

import asyncio
import os
import subprocess
import sys
from contextlib import suppress

import msgspec
import psutil
import pytest

from edgechat.process.child import Child
from edgechat.process.spawn import spawn
from tests.test_architecture import SOURCE

CHILDREN = (
    "edgechat.fetch.child",
    "edgechat.gguf.quantizer",
    "edgechat.hub.child",
    "edgechat.tune.child",
    "edgechat.worker.main",
    "edgechat.worker.senses",
    "edgechat.worker.trial",
)


class Said(msgspec.Struct, frozen=True):
    text: str


TALKS = """
import os, subprocess, sys, time
import msgspec
from edgechat.process.parent import Parent

class Said(msgspec.Struct):
    text: str

parent = Parent(msgspec.msgpack.Decoder(Said))
parent.listen(lambda letter: parent.send(letter))
print("a library prints", flush=True)
os.write(1, b"and one in C\\n")
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
parent.send(Said(str(grandchild.pid)))
"""
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"


def script(text: str) -> "subprocess.Popen[bytes]":
    """As `spawn`, but a few lines."""
    pipe = subprocess.PIPE
    command = (sys.executable, "-c", text + "time.sleep(600)")
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)


async def talking(text: str = TALKS) -> tuple[Child[Said], list[psutil.Process]]:
    """A child that sends back what it hears, and its processes: itself and one that it started."""
    child = await Child.of(script(text), msgspec.msgpack.Decoder(Said))
    first = await child.receive()
    assert first is not None
    return child, [psutil.Process(child.pid), psutil.Process(int(first.text))]


async def gone(processes: list[psutil.Process]) -> bool:
    """Whether they all are, soon. Nobody may wait for an orphan that was killed: then it is a zombie."""
    for _ in range(200):
        if not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in processes):
            return True
        await asyncio.sleep(0.05)
    return False


def test_these_are_all() -> None:
    mains = [path for path in SOURCE.rglob("*.py") if "from edgechat.process.parent import Parent" in path.read_text()]
    named = {f"edgechat.{'.'.join(path.relative_to(SOURCE).with_suffix('').parts)}" for path in mains}
    assert named == set(CHILDREN)


@pytest.mark.parametrize("module", CHILDREN)
def test_a_child_is_a_session_of_its_own_without_secrets_and_ends_with_its_parent(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MODELSCOPE_API_TOKEN", "OPENAI_API_KEY", "HTTPS_PROXY", "EDGECHAT_ANY"):
        monkeypatch.setenv(name, "canary-5b1f")
    with spawn(module) as process:
        child = psutil.Process(process.pid)
        assert "canary-5b1f" not in " ".join(child.environ().values())
        assert os.getsid(process.pid) == process.pid
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)


async def test_letters_come_whole_whatever_libraries_print() -> None:
    child, _ = await talking()
    try:
        child.post(Said("hello"))
        assert await child.receive() == Said("hello")
        words = child.words()
        assert [await anext(words), await anext(words)] == ["a library prints", "and one in C"]
    finally:
        await child.end()


@pytest.mark.parametrize("start", ["", STUBBORN], ids=["willing", "stubborn"])
async def test_the_end_of_a_child_is_that_of_all_it_started(start: str) -> None:
    child, processes = await talking(start + TALKS)
    assert await child.end(patience=0.5) < 0
    assert await child.receive() is None
    assert await gone(processes)


async def test_a_child_whose_parent_is_gone_ends_with_all_it_started() -> None:
    child, processes = await talking()
    child.hang_up()
    assert await gone(processes)
    await child.end()


async def test_a_child_that_was_killed_is_told_from_one_that_ends() -> None:
    child, processes = await talking()
    processes[0].kill()
    assert await child.receive() is None
    child.post(Said("nobody hears it"))
    assert await child.wait() == -9
    await child.end()
    assert await gone(processes)


async def test_no_pipe_stays_open() -> None:
    before = psutil.Process().num_fds()
    child, _ = await talking()
    await child.end()
    await asyncio.sleep(0)
    assert psutil.Process().num_fds() <= before


@pytest.mark.parametrize("turns", range(6))
async def test_whoever_is_cancelled_while_it_starts_leaves_no_process(turns: int) -> None:
    before, started = psutil.Process().num_fds(), []

    async def start() -> Child[Said]:
        started.append(script(TALKS))
        return await Child.of(started[0], msgspec.msgpack.Decoder(Said))

    starting = asyncio.create_task(start())
    for _ in range(turns):
        await asyncio.sleep(0)
    starting.cancel()
    with suppress(asyncio.CancelledError):
        await (await starting).end()
    await asyncio.sleep(0)
    assert [process.returncode for process in started] == [-9] * min(turns, 1)
    assert psutil.Process().num_fds() <= before
