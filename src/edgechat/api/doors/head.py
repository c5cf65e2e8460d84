"""HEAD requests: answered wherever GET is: the same headers, and the connection leaves out the body."""

from starlette.types import ASGIApp, Receive, Scope, Send


class Head:
    """ASGI middleware: the routes see a GET; uvicorn, which knows better, sends no body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)
