"""The ASGI application: routes around one runtime, and the chain of middleware in front of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from edgechat import __version__, registry
from edgechat.api import anthropic, errors, native, ollama, openai, openapi, responses
from edgechat.api.doors.access import Access
from edgechat.api.doors.drain import Drain, end_process
from edgechat.api.doors.gate import Gate, Turnstile, places
from edgechat.api.doors.guard import Guard, Rules
from edgechat.api.doors.head import Head
from edgechat.api.doors.language import Language
from edgechat.api.doors.request_id import RequestId
from edgechat.api.downloads import Downloads
from edgechat.api.ignored import HEADER
from edgechat.api.ollama import listing, vectors
from edgechat.api.openai import completions, embeddings, tokens
from edgechat.api.page import attachments, conversations, dashboard, exchange, login, picker, runs, status
from edgechat.api.page.assets import mount_page
from edgechat.api.responses.memory import Memory
from edgechat.api.routes import Table
from edgechat.api.watch import metrics
from edgechat.api.watch.board import Board
from edgechat.api.watch.desk import Desk
from edgechat.api.watch.metrics import CountRequests, Metrics
from edgechat.errors import ConfigError
from edgechat.fetch.errand import Fetcher
from edgechat.history.store import History
from edgechat.keys import Sessions, is_exposed, keys_of
from edgechat.runs.keeper import Runs
from edgechat.runtime import Runtime
from edgechat.settings import Settings

if TYPE_CHECKING:  # an extra
    from edgechat.observe.tracing import Tracing

TOLD = (HEADER, "X-Request-Id", "Retry-After")  # headers that other origins' pages may read

# In the order of docs/api.md.
DIALECTS = (
    openai, completions, responses, embeddings, anthropic, ollama, listing,
    vectors, tokens,
    native, runs, conversations, attachments, exchange, login, status, picker, dashboard, metrics,
)  # fmt: skip


def create_app(runtime: Runtime, history: History | None = None) -> FastAPI:
    """The ASGI app over `runtime`; starts it with the first request's loop and stops it at shutdown.

    `history` may be open already; without one the home folder's is opened.
    """
    downloads = Downloads(runtime)
    kept = Runs(runtime, history or History(runtime.settings.home))
    tracing = _tracing(runtime.settings.otel_endpoint)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        kept.start()
        runtime.start()
        watching = asyncio.create_task(app.state.board.run())
        yield
        watching.cancel()
        await downloads.close()
        await kept.close()
        await runtime.stop()
        await desk.close()

    app = FastAPI(
        title="edgechat",
        version=__version__,
        summary="Private chat on machines without a GPU",
        lifespan=lifespan,
        docs_url=None,  # those pages load scripts from other hosts
        redoc_url=None,
        openapi_url=None,  # openapi.py has its route
        openapi_tags=[openapi.tag_of(dialect) for dialect in DIALECTS],
    )
    app.openapi = lambda: openapi.describe(app)  # type: ignore[method-assign]
    settings = runtime.settings
    app.state.runtime = runtime
    app.state.runs = kept
    app.state.downloads = downloads
    app.state.memory = Memory()
    app.state.fetcher = Fetcher(() if settings.offline else settings.picture_hosts)
    app.state.keys = keys_of(settings)
    app.state.end = end_process
    counted = app.state.metrics = Metrics(runtime)
    desk = runtime.answers.watcher = Desk(settings, app.state.keys, runtime.answers, counted, tracing)
    app.state.board = Board(runtime, desk)
    app.state.gate = Gate(lambda: places(settings.queue, len(runtime.keeper.residents)), desk.turned_away)
    app.state.sessions = Sessions(settings.home / "sessions.json")
    errors.install(app)
    for dialect in DIALECTS:
        app.include_router(dialect.router.api, tags=[openapi.tag_of(dialect)["name"]])
    app.include_router(openapi.router.api)
    mount_page(app)
    app.state.table = Table(app.routes)
    _put_doors_before(app, settings, counted, tracing)
    return app


def _put_doors_before(app: FastAPI, settings: Settings, counted: Metrics, tracing: "Tracing | None") -> None:
    # The last one added is the first that a request meets.
    app.add_middleware(Head)
    app.add_middleware(Drain, app.state.runtime)
    app.add_middleware(Access, app.state.keys, app.state.sessions, is_exposed(settings))
    app.add_middleware(Guard, Rules.of(settings.hosts, settings.cors_origins))
    app.add_middleware(CountRequests, counted)
    app.add_middleware(Turnstile)
    if settings.cors_origins:  # before whoever refuses: without its headers a page cannot read why
        app.add_middleware(CORSMiddleware, settings.cors_origins, ["*"], ["*"], expose_headers=TOLD, max_age=600)
    if tracing:
        tracing.install(app)
    app.add_middleware(Language)  # before whoever refuses, too
    app.add_middleware(RequestId)  # the outermost: refusals have an id too


def _tracing(endpoint: str | None) -> "Tracing | None":
    """What traces the answers, where that is wished. Raises ConfigError."""
    if not endpoint:
        return None
    try:
        return registry.load(registry.EXTRAS, "otel", "extra")(endpoint)  # type: ignore[no-any-return]
    except ImportError:
        raise ConfigError(
            "the setting otel_endpoint needs OpenTelemetry: pip install '.[otel]' in edgechat's folder."
        ) from None
