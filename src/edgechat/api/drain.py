"""While the server ends, nothing new is begun: looking stays possible, and the probes tell the truth."""

from starlette.types import ASGIApp, Receive, Scope, Send

from edgechat.api.errors import Problem
from edgechat.api.guard import SAFE
from edgechat.api.refusal import refuse
from edgechat.errors import ShuttingDown
from edgechat.runtime import Runtime

ENDING = Problem.of(ShuttingDown("the server ends: ask again when it is back."))


class Drain:
    """ASGI middleware: 503, with a Retry-After, for whatever would change something."""

    def __init__(self, app: ASGIApp, runtime: Runtime) -> None:
        self._app = app
        self._runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._runtime.draining and scope["method"] not in SAFE:
            await refuse(ENDING, scope, receive, send)
        else:
            await self._app(scope, receive, send)
