"""edgechat under gunicorn: `gunicorn -c deploy/gunicorn.conf.py`. Needs the extra `gunicorn`.

One process, since conversations have one writer and the engine works for everybody at once: what gunicorn adds is that
it starts a process again that died. Settings come from config.toml and EDGECHAT_*; address and port come from gunicorn.
"""

import asyncio
import signal
import sys
from typing import Never

from fastapi import FastAPI
from gunicorn.arbiter import Arbiter
from uvicorn_worker import UvicornWorker

from edgechat import presence
from edgechat.api.app import create_app
from edgechat.api.doors.server import config as server_config
from edgechat.cli import options
from edgechat.cli.serve import claimed, url_of
from edgechat.cli.server import Server
from edgechat.errors import ConfigError, EdgechatError
from edgechat.keys import check_exposure
from edgechat.runtime import Runtime


def create() -> FastAPI:
    """The application, for any ASGI server: `edgechat.gunicorn:create()`.

    What makes it impossible is one line on standard error and an exit status that gunicorn does not try again after.
    """
    try:
        settings = options.load()
        check_exposure(settings)
        return create_app(Runtime(settings), claimed(settings))
    except EdgechatError as error:
        _give_up(error)


def _give_up(error: EdgechatError) -> Never:
    print(f"edgechat: {error}", file=sys.stderr, flush=True)  # noqa: T201
    sys.exit(Arbiter.APP_LOAD_ERROR)


class Worker(UvicornWorker):  # type: ignore[misc]  # no types come with it
    """gunicorn's view of a server with our deadlines and bounds below ASGI, and our way to end."""

    async def _serve(self) -> None:
        if self.cfg.is_ssl:
            _give_up(ConfigError("TLS is set by tls_cert and tls_key of edgechat, not by gunicorn's flags."))
        app: FastAPI = self.wsgi
        runtime: Runtime = app.state.runtime
        config = server_config(runtime.settings, app)
        config.callback_notify, config.timeout_notify = self.callback_notify, self.timeout
        server = Server(config, runtime)
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, server.stop)
        loop.add_signal_handler(signal.SIGQUIT, self._quit, server)
        sockets = [one.sock for one in self.sockets]
        card = presence.leave(runtime.settings.home, url_of(runtime.settings, sockets[0]))
        app.state.secret = card.secret
        try:
            await server.serve(sockets=sockets)
        finally:
            presence.take_back(runtime.settings.home)

    @staticmethod
    def _quit(server: Server) -> None:
        server.force_exit = server.should_exit = True
