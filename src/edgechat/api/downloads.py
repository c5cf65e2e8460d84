"""Background downloads: what the page began goes on when it is closed."""

import asyncio
from contextlib import aclosing

import structlog

from edgechat.errors import EdgechatError
from edgechat.hub.pull import Fetching, pull
from edgechat.runtime import Runtime

TOLD_S = 120.0  # how long a failure is told: whoever comes later did not ask for it

log = structlog.get_logger("models")


class Downloads:
    """The downloads that the page began. Every method belongs to the server's loop."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.steps: dict[str, Fetching] = {}
        self._failures: dict[str, tuple[str, float]] = {}  # why, and when

    def begin(self, name: str) -> None:
        """Download `name`, of the catalog or any reference that pull takes, unless that is under way."""
        if name not in self._tasks:
            self._failures.pop(name, None)
            self._tasks[name] = asyncio.create_task(self._fetch(name))

    async def cancel(self, name: str) -> None:
        """Stop; what is there is kept, and the next download goes on from it. How the last one failed is not told."""
        self._failures.pop(name, None)
        if task := self._tasks.get(name):
            task.cancel()
            await asyncio.wait({task})

    async def close(self) -> None:
        """Stop all."""
        for name in list(self._tasks):
            await self.cancel(name)

    @property
    def names(self) -> set[str]:
        """What is being downloaded now."""
        return set(self._tasks)

    @property
    def failures(self) -> dict[str, str]:
        """Why downloads of late have failed, by name."""
        recent = asyncio.get_running_loop().time() - TOLD_S
        self._failures = {name: failure for name, failure in self._failures.items() if failure[1] > recent}
        return {name: why for name, (why, _) in self._failures.items()}

    async def _fetch(self, name: str) -> None:
        try:
            async with aclosing(pull(name, self._runtime.settings, self._runtime.store)) as steps:
                async for step in steps:
                    if isinstance(step, Fetching):
                        self.steps[name] = step
            await self._runtime.library.learn()
        except EdgechatError as error:
            log.warning("a download failed", model=name, why=str(error))
            self._failures[name] = str(error), asyncio.get_running_loop().time()
        finally:
            del self._tasks[name]
            self.steps.pop(name, None)
