"""The application: routes around one runtime, errors in one shape, the guard in front."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from edgechat import __version__
from edgechat.api import conversations, errors, native, openai, runs
from edgechat.api.guard import Guard
from edgechat.api.page import mount_page
from edgechat.api.request_id import RequestId
from edgechat.history.store import History
from edgechat.runs.keeper import Runs
from edgechat.runtime import Runtime

ROUTERS = (openai.router, native.router, runs.router, conversations.router)  # one per dialect


def create_app(runtime: Runtime, history: History | None = None) -> FastAPI:
    """The ASGI app over `runtime`; starts it with the first request's loop and stops it at shutdown.

    `history` may be open already; without one the home folder's is opened.
    """
    kept = Runs(runtime, history or History(runtime.settings.home))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        kept.start()
        runtime.start()
        yield
        await kept.close()
        await runtime.stop()

    app = FastAPI(
        title="edgechat",
        version=__version__,
        summary="Private chat on machines without a GPU",
        lifespan=lifespan,
        docs_url=None,  # those pages load scripts from other hosts
        redoc_url=None,
    )
    app.state.runtime = runtime
    app.state.runs = kept
    errors.install(app)
    for router in ROUTERS:
        app.include_router(router)
    mount_page(app)
    app.add_middleware(Guard)
    app.add_middleware(RequestId)  # the outermost: refusals have an id too
    return app
