"""What the server does between its doors and its engines: get the default model, load it, answer, tell the truth.

choose ─► pull (downloading) ─► load (loading) ─► ready
   │         └─ the default cannot be had: the small model that comes as a package, and why
   └─ a model that the user named is never replaced: failed, and why

Every other model on disk is loaded when somebody asks for it (models/library.py, models/keeper.py).
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Literal, Protocol

import msgspec
import structlog

from edgechat import machine, registry
from edgechat.engine.fit import DEFAULT_SHARE, free_memory
from edgechat.errors import EdgechatError, HubError, NotReady, ShuttingDown, StorageError, from_code
from edgechat.hub.catalog import Catalog
from edgechat.hub.pull import Fetching, Published, Resolving, Verifying, pull
from edgechat.hub.store import Store, Stored
from edgechat.models.keeper import Keeper
from edgechat.models.library import Library, Served, named, prefixes
from edgechat.models.supervisor import LAST_WORDS_S
from edgechat.models.upkeep import Upkeep
from edgechat.scheduler.shelf import erase
from edgechat.settings import Settings
from edgechat.types import Answered, AnyEvent, AnyQuestion, Done, Embed, Failed, GenRequest, Struct

__all__ = ["Readiness", "Runtime", "Served"]

State = Literal["starting", "downloading", "loading", "ready", "paused", "failed", "draining"]

log = structlog.get_logger("serve")


class Download(Struct, frozen=True):
    """How far it is: bytes, bytes per second, seconds; None is what nobody knows."""

    received: int
    size: int | None = None
    rate: float | None = None
    left: float | None = None


class Readiness(Struct, frozen=True):
    """What /readyz, the page and the terminal say. `why` and `hint` are set where something is not as wanted."""

    state: State
    model: str | None
    wanted: str | None = None  # the model that should be served, where another one is
    why: str | None = None
    hint: str | None = None
    progress: float | None = None  # 0 to 1
    download: Download | None = None  # while there is one
    languages: tuple[str, ...] = ()  # that the model speaks, where the catalog knows it


class Watched(Protocol):
    """One answer that a Watcher follows. `request` is what may be asked for."""

    request: GenRequest

    def see(self, event: AnyEvent) -> AnyEvent:
        """An event goes by: it, or the Failed that ends the answer here."""
        ...

    async def end(self) -> None:
        """No more events come."""
        ...


class Watcher(Protocol):
    """Follows every answer of a server: whether it may be, what it uses."""

    async def begin(self, request: GenRequest, model: str) -> Watched:
        """Raises what keeps `request` from being answered by `model`."""
        ...


class Runtime:
    """One server's models and its state. `start` once; everything else may be called from any task of the same loop."""

    def __init__(self, settings: Settings) -> None:
        registry.check(registry.ENGINES, settings.engine, "engine")
        self.settings = settings
        self.store = Store(settings.home)
        self.catalog = Catalog.load(settings.home)
        self.library = Library(settings, self.store, self.catalog)
        memory = int(settings.memory) or int(free_memory() * DEFAULT_SHARE)
        self.keeper = Keeper(memory, settings.threads or machine.cores(), self._ring)
        self._readiness = Readiness("starting", settings.model or self.catalog.default)
        self._tasks: list[asyncio.Task[None]] = []
        self.changed = asyncio.Event()  # set whenever the readiness may be a new one
        self.failure: EdgechatError | None = None
        self.watcher: Watcher | None = None
        self._answers = 0  # open ones
        self._idle = asyncio.Event()
        self._idle.set()
        self.paused = False  # by an operator; a restart begins unpaused
        self._drained_by: float | None = None  # by the loop's clock; while the server ends

    # ── life ──

    def start(self) -> None:
        """Begin to get and load the default model, in the background. A second call changes nothing."""
        if self._tasks:
            return
        upkeep = Upkeep(self.library, self.keeper)
        self._tasks = [asyncio.create_task(work) for work in (self._bring_up(), self.keeper.run(), upkeep.run())]

    @property
    def draining(self) -> bool:
        """Whether the server ends: no answer is begun any more."""
        return self._drained_by is not None

    def pause(self, paused: bool) -> None:
        """Whether new answers are turned away (api/doors/drain.py). Those that are in run and wait as before."""
        self.paused = paused
        self._ring()

    async def drain(self, seconds: float) -> None:
        """Begin no answer; return when the open ones are whole, or were ended with an error after `seconds`."""
        clock = asyncio.get_running_loop().time
        self._drained_by = clock() + seconds
        self._ring()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        self.keeper.end_answers(Failed(ShuttingDown.code, "the server ends; what was written so far is all there is."))

    async def stop(self) -> None:
        """End the workers and a pull that is under way."""
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        left = LAST_WORDS_S
        if self._drained_by is not None:  # whoever asked for the end counts the seconds
            left = min(left, max(0.5, self._drained_by + 1.0 - asyncio.get_running_loop().time()))
        await self.keeper.close(left)

    async def _bring_up(self) -> None:
        try:
            stored = await self._obtain()
            await self._load(stored)
            await self.library.learn()
        except EdgechatError as error:
            self._fail(error)
        except Exception as error:
            log.exception("a bug")
            self._fail(EdgechatError(f"edgechat failed inside ({type(error).__name__}); the log says where."))

    def _fail(self, error: EdgechatError) -> None:
        self.failure = error
        self._tell(state="failed", why=str(error), progress=None, download=None)

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
        self._tell(state="starting", model=reference, progress=None, download=None)
        async with aclosing(pull(reference, self.settings, self.store)) as steps:
            async for step in steps:
                match step:
                    case Published(model=stored):
                        return stored
                    case Fetching(fraction=fraction) as step:
                        download = Download(step.done, step.total or None, step.rate, step.left_s)
                        self._tell(state="downloading", progress=fraction and round(fraction, 3), download=download)
                    case Resolving():
                        self._tell(state="downloading")
                    case Verifying():
                        self._tell(state="loading", progress=None, download=None)
        raise AssertionError("a pull ends with Published or an error")

    async def _load(self, stored: Stored) -> None:
        """Make `stored` the default, and wait until it answers."""
        entry = self.catalog.find(stored.name)
        languages = entry.languages if entry else ()
        self._tell(state="loading", model=stored.name, progress=None, download=None, languages=languages)
        await asyncio.to_thread(self.library.wanted, stored)  # reads the header
        self.library.default = stored
        info = await self.keeper.load(self.library.wanted(stored))
        self._tell(state="ready", progress=None, why=self._readiness.why or "; ".join(info.notes) or None)

    def _tell(self, **news: object) -> None:
        self._readiness = msgspec.structs.replace(self._readiness, **news)
        self._ring()

    def _ring(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    # ── what is there ──

    @property
    def readiness(self) -> Readiness:
        """The state now. The default counts as ready while it makes room for others: who asks gets it back."""
        now, default = self._readiness, self.library.default
        if self.draining:
            return msgspec.structs.replace(now, state="draining", why="the server ends")
        resident = self.keeper.resident(default.name) if default else None
        if now.state == "ready" and default and self.library.find(None) is None:
            gone = f"{default.name} is not on disk any more, or damaged"
            return msgspec.structs.replace(now, state="failed", why=gone, hint=f"edgechat pull {default.name}")
        if resident is None or resident.ready or now.state not in ("loading", "ready"):
            paused = self.paused and now.state == "ready"
            return msgspec.structs.replace(now, state="paused", why="an operator paused it") if paused else now
        if now.state == "ready" and resident.failure is not None:
            return msgspec.structs.replace(now, state="failed", why=str(resident.failure))
        why = "the engine's process ended; it is being started again" if resident.measured else now.why
        return msgspec.structs.replace(now, state="loading", why=why, progress=resident.loading.fraction)

    @property
    def served(self) -> Served | None:
        """The default model, once it answers."""
        default = self.library.find(None)
        return self._served(default) if default and self._readiness.state == "ready" else None

    def find(self, name: str | None) -> Served:
        """The model called `name`, loaded or not; None is the default. Raises NotReady or ModelNotFound."""
        if not name and self.library.default is None:
            raise NotReady(f"no model answers yet ({self._readiness.state}): see /readyz.")
        return self._served(self.library.get(name or ""))

    def models(self) -> list[Served]:
        """Everything that can be asked for, the default first, aliases last, under the name to ask with."""
        found = []
        for name in self.library.names():
            with suppress(EdgechatError):  # damaged or gone meanwhile: it cannot be asked for
                found.append(named(self.find(name), name))
        return found

    def _served(self, stored: Stored) -> Served:
        resident = self.keeper.resident(stored.name)
        if resident is None or resident.info is None:
            return self.library.served(stored, None)
        # For a moment after an update or a tuning, what answers is still the version before.
        return self.library.served(stored, resident.info, resident.wanted.load.digest)

    # ── answers ──

    async def stream(self, request: GenRequest) -> AsyncGenerator[AnyEvent, None]:
        """The events of one answer of `request.model`, `Loading` while it is brought in.

        Raises ModelNotFound, NotReady while its engine is away, and what keeps the model from being loaded.
        """
        if not request.model and self._readiness.state == "failed":
            raise NotReady("no model answers here: see /readyz.")
        if not request.model and self.library.default is None:
            raise NotReady("no model answers yet: see /readyz.")
        stored = self.library.get(request.model)
        async with self._signed(request, stored) as watched:
            asked = self.keeper.stream(self.library.wanted(stored), watched.request if watched else request)
            async with aclosing(asked) as events:
                async for told in events:
                    event = watched.see(told) if watched else told
                    if isinstance(event, Done):
                        log.info("answered", **msgspec.to_builtins(event.usage), **msgspec.to_builtins(event.timing))
                    yield event
                    if event is not told:
                        return

    @asynccontextmanager
    async def _signed(self, request: GenRequest, stored: Stored) -> AsyncIterator[Watched | None]:
        """An answer under way: in the watcher's book, and among those that the end of the server waits for."""
        if self.draining:
            raise ShuttingDown("the server ends: ask again when it is back.")
        watched = await self.watcher.begin(request, stored.name) if self.watcher else None
        self._answers += 1
        self._idle.clear()
        try:
            yield watched
        finally:
            self._answers -= 1
            if not self._answers:
                self._idle.set()
            if watched:
                await watched.end()

    async def embed(self, request: GenRequest, texts: tuple[str | tuple[int, ...], ...]) -> Answered:
        """The vectors of `texts`, for whoever sends `request`. Raises what `stream` would, and what refuses them."""
        stored = self.library.get(request.model)
        async with self._signed(request, stored) as watched:
            asked = self.keeper.stream(self.library.wanted(stored), Embed(texts, request.client))
            return await _answered(asked, watched.see if watched else lambda event: event)

    async def ask(self, model: str, question: AnyQuestion) -> Answered:
        """The answer to a question about `model`. Raises what `stream` would, and what refuses the question."""
        return await _answered(self.keeper.stream(self.library.wanted(self.library.get(model)), question))

    def forget(self, conversation: str) -> None:
        """Destroy what the engines keep of a conversation, and what those kept that are not loaded now."""
        self.keeper.forget(conversation)
        asyncio.get_running_loop().run_in_executor(None, erase, prefixes(self.settings.home), conversation)

    async def load(self, name: str | None) -> Served:
        """Load the model now. Raises what `stream` would."""
        stored = self.library.get(self.find(name).name)
        await self.keeper.load(self.library.wanted(stored))
        return self._served(stored)

    def keep(self, name: str | None, seconds: float) -> None:
        """How long the model stays without being asked, from now on and while it is loaded.

        0 unloads it after its running answers, infinity keeps it.
        """
        self.keeper.keep(self.find(name).name, seconds)


async def _answered(
    asked: AsyncGenerator[AnyEvent, None], see: Callable[[AnyEvent], AnyEvent] = lambda event: event
) -> Answered:
    """The end of a question. Raises what it says instead."""
    async with aclosing(asked) as events:
        async for told in events:
            event = see(told)
            if isinstance(event, Failed):
                raise from_code(event.code, event.message, event.param, event.retry_after_s)
            if isinstance(event, Answered):
                return event
    raise AssertionError("every question has an answer")
