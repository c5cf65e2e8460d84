"""The parent's side of the process that measures: one order, its progress, its answer; and its end whatever happens."""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self, TypeVar

import msgspec

from edgechat import machine
from edgechat.errors import EngineFailed, from_code
from edgechat.tune.letters import AnyAnswer, AnyOrder, Progress, Refused, from_child, pack

MAX_LETTER = 1 << 20  # bytes
A = TypeVar("A", bound=AnyAnswer)


class Asks(Protocol):
    """Whoever carries out orders."""

    async def ask(self, order: AnyOrder, kind: type[A], told: Callable[[float], None]) -> A:
        """The answer to `order`, of the `kind` that belongs to it. `told` gets its progress. Raises what it raised."""
        ...


class Lab:
    """A measuring process, started with the first order and again after a death. Leaving the `async with` ends it."""

    def __init__(self, background: bool = False) -> None:
        """With `background` it takes only the time that nobody else wants."""
        self._options = ("--background",) if background else ()
        self._process: Process | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def ask(self, order: AnyOrder, kind: type[A], told: Callable[[float], None]) -> A:
        process = self._process or await self._start()
        assert process.stdin is not None
        try:
            with suppress(OSError):  # a dead process shows as an empty answer
                process.stdin.write(pack(order))
                await process.stdin.drain()
            while isinstance(answer := await self._answer(process), Progress):
                told(answer.fraction)
        except BaseException:
            await self._end()  # the order is still being carried out, or nobody is there
            raise
        if isinstance(answer, Refused):
            raise from_code(answer.code, answer.message)
        if not isinstance(answer, kind):
            raise EngineFailed("the measuring process lost its way; tune again.")
        return answer

    async def _answer(self, process: Process) -> AnyAnswer:
        assert process.stdout is not None
        line = await process.stdout.readline()
        if not line:
            status = await process.wait()
            raise EngineFailed(f"the measuring process ended (status {status}).")
        try:
            return from_child.decode(line)
        except msgspec.DecodeError:
            raise EngineFailed("the measuring process lost its way; tune again.") from None

    async def _start(self) -> Process:
        command = (sys.executable, "-P", "-m", "edgechat.tune.child", *self._options)
        # A session of its own: Ctrl-C in the terminal is the parent's to handle.
        self._process = await asyncio.create_subprocess_exec(
            *command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            env=machine.plain_environment(),
            limit=MAX_LETTER,
            start_new_session=True,
        )
        return self._process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.kill()
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
