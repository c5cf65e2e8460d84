"""A worker's process on the loop. asyncio's own can only be started there: too late for the first one (spare.py)."""

import asyncio
import os
import signal
import subprocess
from contextlib import suppress
from typing import IO, Self

from edgechat.models import spare


class Process:
    """A running process and its pipes."""

    stdin: asyncio.WriteTransport
    stdout: asyncio.StreamReader
    stderr: asyncio.StreamReader

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child
        self._sources: list[asyncio.ReadTransport] = []
        self.pid = child.pid

    @classmethod
    async def start(cls) -> Self:
        """A process that waits for its first letter. Close it when it has ended."""
        process = cls(spare.take())
        await process._connect()
        return process

    async def _connect(self) -> None:
        child, loop = self._child, asyncio.get_running_loop()
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        self.stdin, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, child.stdin)
        self.stdout, self.stderr = await self._reader(child.stdout), await self._reader(child.stderr)

    async def _reader(self, pipe: IO[bytes]) -> asyncio.StreamReader:
        reader = asyncio.StreamReader()
        connect = asyncio.get_running_loop().connect_read_pipe
        transport, _ = await connect(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        self._sources.append(transport)
        return reader

    async def wait(self) -> int:
        """Its exit status, once it has ended; negative for a signal."""
        return await asyncio.to_thread(self._child.wait)

    def kill(self) -> None:
        """End the process and whatever it started: they are a session of their own, and hold our pipes."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Close the pipes, whatever is still in them."""
        self.stdin.close()
        for source in self._sources:
            source.close()
