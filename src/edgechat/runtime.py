"""What the server does between its doors and its engine: get a model, load it, answer with it, tell the truth about it.

choose ─► pull (downloading) ─► load (loading) ─► ready
   │         └─ the default cannot be had: the small model that comes as a package, and why
   └─ a model that the user named is never replaced: failed, and why
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Literal

import msgspec
import structlog

from edgechat import machine, registry
from edgechat.errors import EdgechatError, HubError, ModelNotFound, NotReady, StorageError
from edgechat.hub.catalog import Catalog
from edgechat.hub.pull import Fetching, Published, Resolving, Verifying, pull
from edgechat.hub.store import Store, Stored
from edgechat.settings import Settings
from edgechat.types import AnyEvent, Done, GenRequest, Load, ModelInfo, Sampling, Struct
from edgechat.worker.supervisor import Worker

State = Literal["starting", "downloading", "loading", "ready", "failed"]

log = structlog.get_logger("serve")


class Readiness(Struct, frozen=True):
    """What /readyz, the page and the terminal say. `why` and `hint` are set where something is not as wanted."""

    state: State
    model: str | None
    wanted: str | None = None  # the model that should be served, where another one is
    why: str | None = None
    hint: str | None = None
    progress: float | None = None  # 0 to 1
    languages: tuple[str, ...] = ()  # that the model speaks, where the catalog knows it


class Served(Struct, frozen=True):
    """The model that answers."""

    name: str
    sha256: str
    recipe: str  # the type most of its weights have
    sampling: Sampling
    info: ModelInfo
    since: int  # Unix time


class Runtime:
    """One server's model and its state. `run` once; everything else may be called from any task of the same loop."""

    def __init__(self, settings: Settings) -> None:
        registry.check(registry.ENGINES, settings.engine, "engine")
        self.settings = settings
        self.store = Store(settings.home)
        self.catalog = Catalog.load(settings.home)
        self._worker: Worker | None = None
        self._served: Served | None = None
        self._readiness = Readiness("starting", settings.model or self.catalog.default)
        self._task: asyncio.Task[None] | None = None
        self.changed = asyncio.Event()  # set whenever the readiness is a new one
        self.failure: EdgechatError | None = None

    # ── life ──

    def start(self) -> None:
        """Begin to get and load the model, in the background."""
        self._task = asyncio.create_task(self._bring_up())

    async def stop(self) -> None:
        """End the worker and a pull that is under way."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._worker is not None:
            await self._worker.stop()

    async def _bring_up(self) -> None:
        try:
            stored = await self._obtain()
            await self._load(stored)
        except EdgechatError as error:
            self._fail(error)
        except Exception as error:
            log.exception("a bug")
            self._fail(EdgechatError(f"edgechat failed inside ({type(error).__name__}); the log says where."))

    def _fail(self, error: EdgechatError) -> None:
        self.failure = error
        self._tell(state="failed", why=str(error), progress=None)

    async def _obtain(self) -> Stored:
        """The model to serve: what the user named, or the default, or the small one with the reason."""
        if self.settings.model is not None:
            return await self._pull(self.settings.model)
        default, fallback = self.catalog.default, self.catalog.fallback
        try:
            return await self._pull(default)
        except (HubError, StorageError) as error:
            hint = f"edgechat pull {default}"
            self._tell(model=fallback, wanted=default, why=str(error), hint=hint)
        return await self._pull(fallback)

    async def _pull(self, reference: str) -> Stored:
        self._tell(state="starting", model=reference)
        async with aclosing(pull(reference, self.settings, self.store)) as steps:
            async for step in steps:
                match step:
                    case Published(model=stored):
                        return stored
                    case Fetching(fraction=fraction):
                        self._tell(state="downloading", progress=fraction and round(fraction, 3))
                    case Resolving():
                        self._tell(state="downloading")
                    case Verifying():
                        self._tell(state="loading", progress=None)
        raise AssertionError("a pull ends with Published or an error")

    async def _load(self, stored: Stored) -> None:
        """Start the worker and wait until the model answers."""
        entry = self.catalog.find(stored.name)
        languages = entry.languages if entry else ()
        self._tell(state="loading", model=stored.name, progress=None, languages=languages)
        threads = self.settings.threads or machine.cores()
        load = Load(
            engine=self.settings.engine,
            path=str(stored.path),
            context=self.settings.context,
            threads=threads,
            memory=int(self.settings.memory),
            queue=self.settings.queue,
            digest=stored.sha256,
            shelf=str(self.settings.home / "prefixes"),
            shelf_bytes=int(self.settings.prefix_bytes),
        )
        self._worker = Worker(load)
        info = await self._worker.start()
        self._served = Served(
            name=stored.name,
            sha256=stored.sha256,
            recipe=info.recipe,
            sampling=entry.sampling if entry else Sampling(),
            info=info,
            since=int(time.time()),
        )
        self._tell(state="ready", progress=None, why=self._readiness.why or "; ".join(info.notes) or None)

    def _tell(self, **news: object) -> None:
        self._readiness = msgspec.structs.replace(self._readiness, **news)
        self.changed.set()
        self.changed = asyncio.Event()

    # ── answers ──

    @property
    def readiness(self) -> Readiness:
        """The state now: a worker that died shows as loading until it is back."""
        worker = self._worker
        if self._readiness.state != "ready" or worker is None or worker.ready:
            return self._readiness
        why = "the engine's process ended; it is being started again"
        return msgspec.structs.replace(self._readiness, state="loading", why=why)

    @property
    def served(self) -> Served | None:
        """The model that answers, once there is one."""
        return self._served

    def find(self, name: str | None) -> Served:
        """The served model called `name`; None is the default. Raises NotReady or ModelNotFound."""
        if self._served is None:
            raise NotReady(f"no model answers yet ({self._readiness.state}): see /readyz.")
        if name not in (None, "", self._served.name):
            raise ModelNotFound(f"no model {name!r} is served here; there is {self._served.name!r}.", "model")
        return self._served

    async def stream(self, request: GenRequest) -> AsyncGenerator[AnyEvent, None]:
        """The events of one answer. Raises NotReady while the engine is away."""
        if self._worker is None:
            raise NotReady("no model answers yet: see /readyz.")
        async with aclosing(self._worker.stream(request)) as events:
            async for event in events:
                if isinstance(event, Done):
                    log.info("answered", **msgspec.to_builtins(event.usage), **msgspec.to_builtins(event.timing))
                yield event

    def forget(self, conversation: str) -> None:
        """Destroy what the engine keeps of a conversation."""
        if self._worker is not None:
            self._worker.forget(conversation)
