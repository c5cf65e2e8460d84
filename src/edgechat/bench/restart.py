"""Restarting a server by the operator's own command, and being sure that it happened."""

import asyncio
import os
import time

from edgechat.bench.client import Client, Unmeasured
from edgechat.types import Message

IDLE_S = 3.0  # that the server has before, to put away what it keeps
COMMAND_S = 60.0  # that the command may take
GONE_S = 30.0  # that the old server may take to end after it
UP_S = 120.0  # that the new one may take to answer
AGAIN_S = 0.25


async def restarted(here: Client) -> float:
    """Restart the server in the address's own way; return once the old server is gone and a new one answers.

    Returns when the old one was gone, on the performance counter.

    A connection is held open meanwhile: as long as it stands, the old server does. The first short answer of the new
    one is not measured. Raises Unmeasured.
    """
    await asyncio.sleep(IDLE_S)
    try:
        reader, writer = await asyncio.open_connection(here.address.host, here.address.port)
    except OSError as error:
        raise Unmeasured(f"the server was gone before the restart: {error.strerror}") from None
    try:
        await _restart(here)
        async with asyncio.timeout(GONE_S):
            await _gone(reader)
    except TimeoutError:
        raise Unmeasured("the restart command ended, but the server was not restarted") from None
    finally:
        writer.close()
    gone = time.perf_counter()
    await _up(here)
    return gone


async def _restart(here: Client) -> None:
    restart = here.address.restart
    assert restart is not None
    if isinstance(restart, str):
        await _run(restart, here.address.url)
    else:
        await restart()


async def _run(command: str, url: str) -> None:
    """Run the operator's command, in a session of its own: what it starts outlives us."""
    process = await asyncio.create_subprocess_shell(
        command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=2,  # standard output is the report's
        env=os.environ | {"BENCH_URL": url},
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(COMMAND_S):
            status = await process.wait()
    except TimeoutError:
        raise Unmeasured(f"the restart command did not end within {COMMAND_S:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if status:
        raise Unmeasured(f"the restart command failed with status {status}")


async def _gone(reader: asyncio.StreamReader) -> None:
    try:
        while await reader.read(1 << 16):
            pass
    except OSError:
        return


async def _up(here: Client) -> None:
    last = "no answer"
    try:
        async with asyncio.timeout(UP_S):
            while True:
                reading = await here.ask([Message.of("user", "Hello")], 1)
                if reading.error is None:
                    return
                last = reading.error
                await asyncio.sleep(AGAIN_S)
    except TimeoutError:
        raise Unmeasured(f"the restarted server did not answer within {UP_S:.0f} s: {last}") from None
