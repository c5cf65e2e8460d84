"""The parent's side of the process that measures: one order, its progress, its answer; and its end whatever happens."""

from collections.abc import Callable
from subprocess import DEVNULL
from types import TracebackType
from typing import Protocol, Self, TypeVar

import msgspec

from edgechat.errors import EngineFailed, from_code
from edgechat.process.child import Child
from edgechat.process.spawn import spawn
from edgechat.tune.letters import AnyAnswer, AnyOrder, Progress, Refused, from_child

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
        self._child: Child[AnyAnswer] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def ask(self, order: AnyOrder, kind: type[A], told: Callable[[float], None]) -> A:
        child = self._child or await self._start()
        try:
            child.post(order)
            while isinstance(answer := await self._answer(child), Progress):
                told(answer.fraction)
        except BaseException:
            await self._end()  # the order is still being carried out, or nobody is there
            raise
        if isinstance(answer, Refused):
            raise from_code(answer.code, answer.message)
        if not isinstance(answer, kind):
            raise EngineFailed("the measuring process lost its way; tune again.")
        return answer

    async def _answer(self, child: Child[AnyAnswer]) -> AnyAnswer:
        try:
            answer = await child.receive()
        except msgspec.DecodeError:
            raise EngineFailed("the measuring process lost its way; tune again.") from None
        if answer is None:
            raise EngineFailed(f"the measuring process ended (status {await child.wait()}).")
        return answer

    async def _start(self) -> Child[AnyAnswer]:
        self._child = await Child.of(spawn("edgechat.tune.child", *self._options, stderr=DEVNULL), from_child)
        return self._child

    async def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            await child.end()
