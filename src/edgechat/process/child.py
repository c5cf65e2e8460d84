"""A parent's side of a child process, on the loop: letters, its words on stderr, and its end whatever happens."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import IO, Generic, Self, TypeVar

import msgspec

from edgechat.process import frames

T = TypeVar("T")


class Child(Generic[T]):
    """A running child and its pipes. asyncio's own can only be started on a loop: too late for models/spare.py."""

    _stdin: asyncio.WriteTransport
    _stdout: asyncio.StreamReader
    _stderr: asyncio.StreamReader

    def __init__(self, process: subprocess.Popen[bytes], decoder: msgspec.msgpack.Decoder[T]) -> None:
        self._process, self._decoder = process, decoder
        self._transports: list[asyncio.BaseTransport] = []
        self.pid = process.pid

    @classmethod
    async def of(cls, process: subprocess.Popen[bytes], decoder: msgspec.msgpack.Decoder[T]) -> Self:
        """The child that `spawn` started; `decoder` knows its letters. `end` it, or `kill` and `close`."""
        child = cls(process, decoder)
        try:
            await child._connect()
        except BaseException:
            child.close()
            with process:  # its pipes closed, and waited for
                child.kill()
            raise
        return child

    async def _connect(self) -> None:
        loop, process = asyncio.get_running_loop(), self._process
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, process.stdin)
        self._transports.append(self._stdin)
        self._stdout = await self._reader(process.stdout)
        if process.stderr is not None:
            self._stderr = await self._reader(process.stderr)

    async def _reader(self, pipe: IO[bytes]) -> asyncio.StreamReader:
        reader = asyncio.StreamReader()
        connect = asyncio.get_running_loop().connect_read_pipe
        transport, _ = await connect(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        self._transports.append(transport)
        return reader

    # ── letters ──

    def post(self, letter: msgspec.Struct) -> None:
        """Write a letter without waiting: it must go out even while its sender is being cancelled."""
        self._stdin.write(frames.pack(letter))

    async def receive(self) -> T | None:
        """The child's next letter; None when it has ended. Raises DecodeError for what is none."""
        return await frames.receive(self._stdout, self._decoder)

    async def words(self) -> AsyncIterator[str]:
        """What it says on stderr, line by line; a line longer than anybody wants to read is left out."""
        while True:
            try:
                line = await self._stderr.readline()
            except ValueError:
                continue
            if not line:
                return
            yield line.decode(errors="replace").rstrip()

    # ── its end ──

    def hang_up(self) -> None:
        """Write no more: the child ends by itself."""
        self._stdin.close()

    async def wait(self) -> int:
        """Its exit status, once it has ended; negative for a signal."""
        return await asyncio.to_thread(self._process.wait)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the child and to whatever it started, which holds our pipes too."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def close(self) -> None:
        """Close the pipes, whatever is still in them."""
        for transport in self._transports:
            transport.close()

    async def end(self, patience: float = 0.0) -> int:
        """Ask the child to end, and after `patience` seconds end it with all that it started. Its exit status."""
        try:
            if patience:
                self.kill(signal.SIGTERM)
                with suppress(TimeoutError):
                    async with asyncio.timeout(patience):
                        await self.wait()
        finally:
            self.kill()
            self.close()
            status = await self.wait()
        return status
