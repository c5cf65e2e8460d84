"""The HTTP server of `edgechat serve`. A file of its own: it is imported while the worker loads the model."""

import asyncio
import gc
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from edgechat.api.doors.doorstep import Doorstep
from edgechat.runtime import Runtime

BACKLOG = 2048  # connections that the system keeps while the loop is busy
FLUSH_S = 1  # seconds for the last words of answers that were ended
# Seconds for which a thread that computes keeps the loop waiting. Python's own 5 ms are met several times in a request:
# beside a thread that reads a large body, /healthz would come 23 ms later; with this it is 7.
SWITCH_S = 0.001


class Server(uvicorn.Server):
    """uvicorn, but a stop that was asked for is a success: it would end the process by the signal that it caught."""

    def __init__(self, config: uvicorn.Config, runtime: Runtime) -> None:
        config.timeout_graceful_shutdown = FLUSH_S
        super().__init__(config)
        self._runtime = runtime
        self._draining: asyncio.Task[None] | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        sys.setswitchinterval(SWITCH_S)
        assert isinstance(self.config.app, FastAPI)
        state = self.config.app.state
        doorsteps: list[socket.socket] = [Doorstep(one, state.gate, state.table) for one in sockets or ()]
        await super().startup(doorsteps or None)
        for listener in sockets or ():
            listener.listen(BACKLOG)  # asyncio has asked for as many as it takes at a time
        gc.collect()
        gc.freeze()  # what is here now stays: going through it again would hold everybody up for 45 ms each time

    def stop(self) -> None:
        """First signal: drain. Second: at once."""
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain())
        else:
            self.force_exit = self.should_exit = True

    async def _drain(self) -> None:
        """The doors stay open meanwhile, so that whoever comes hears 503 and not nothing."""
        await self._runtime.drain(self._runtime.settings.drain)
        self.should_exit = True
