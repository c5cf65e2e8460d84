"""Graceful shutdown and pause: who is turned away at the door meanwhile, while the probes tell the truth.

draining ─► whatever would change something: 503
paused ───► whatever asks for an answer: 503; the rest goes on
"""

import os
import signal
from functools import cache

from starlette.types import ASGIApp, Receive, Scope, Send

from edgechat.api.doors.guard import SAFE
from edgechat.api.doors.refusal import refuse
from edgechat.api.errors import Problem
from edgechat.api.routes import Asks, facts_of
from edgechat.errors import Paused, ShuttingDown
from edgechat.runtime import Runtime

ENDING = Problem.of(ShuttingDown("the server ends: ask again when it is back."))
PAUSED = Problem.of(Paused("an operator paused the server: ask again later."))


class Drain:
    """ASGI middleware: 503, with a Retry-After, for whatever may not be begun now."""

    def __init__(self, app: ASGIApp, runtime: Runtime) -> None:
        self._app = app
        self._runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = self._problem(scope) if scope["type"] == "http" and scope["method"] not in SAFE else None
        if problem:
            await refuse(problem, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _problem(self, scope: Scope) -> Problem | None:
        if self._runtime.draining:
            return ENDING
        return PAUSED if self._runtime.paused and facts_of(scope).asks is not Asks.NOTHING else None


@cache  # a second signal would end it at once
def end_process() -> None:
    """End this process as whoever looks after it would, under each of the servers that may have it."""
    os.kill(os.getpid(), signal.SIGTERM)
