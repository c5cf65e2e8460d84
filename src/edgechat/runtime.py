"""What the server does between its doors and its engines: get the default model, load it, answer, tell the truth.

choose ─► pull (downloading) ─► load (loading) ─► ready
   │         └─ the default cannot be had: the small model that comes as a package, and why
   └─ a model that the user named is never replaced: failed, and why

Every other model on disk is loaded when somebody asks for it (models/library.py, models/keeper.py).
"""

import asyncio
from contextlib import aclosing, suppress
from typing import Literal, Protocol

import msgspec
import structlog

from edgechat import machine, registry
from edgechat.engine.fit import DEFAULT_SHARE, free_memory
from edgechat.errors import EdgechatError, HubError, ModelNotFound, NotReady, ShuttingDown, StorageError
from edgechat.hub.catalog import Catalog
from edgechat.hub.pull import Fetching, Published, Resolving, Verifying, pull
from edgechat.hub.store import Store, Stored
from edgechat.models.answers import Answers
from edgechat.models.handle import Handle
from edgechat.models.keeper import Keeper
from edgechat.models.library import Library, named, prefixes
from edgechat.models.local import Locals
from edgechat.models.supervisor import LAST_WORDS_S
from edgechat.models.upkeep import Upkeep
from edgechat.scheduler.shelf import erase
from edgechat.settings import Settings
from edgechat.types import Caller, Failed, Model, Served, Struct

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


class Kind(Protocol):
    """Some of the models that can be asked: local ones, remote endpoints, cascades."""

    def find(self, name: str) -> Model | None:
        """The model called `name`, loaded or not; "" is the default."""
        ...

    def names(self) -> list[str]:
        """What can be asked for, aliases last."""
        ...


class Runtime:
    """One server's models and its state. `start` once; everything else may be called from any task of the same loop."""

    def __init__(self, settings: Settings, *others: Kind) -> None:
        """`others`: further kinds of models; what they call their own, they answer for."""
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
        self.answers = Answers()
        self._kinds: tuple[Kind, ...] = (Locals(self.library, self.keeper), *others)
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
        self.answers.closed = True
        self._ring()
        await self.answers.over(seconds)
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
        default = self._find("") if self._readiness.state == "ready" else None
        return default.served if default else None

    def find(self, name: str | None, caller: Caller) -> Model:
        """The model called `name`, loaded or not, as `caller` may use it; None is the default.

        Raises NotReady where there is no default yet, ModelNotFound for what is not here or outside the caller's key.
        """
        if not name and self.library.default is None:
            raise NotReady(f"no model answers yet ({self._readiness.state}): see /readyz.")
        if not name and self._readiness.state == "failed":
            raise NotReady("no model answers here: see /readyz.")
        model = self._find(name or "")
        if model is None:
            raise self.library.missing(name or "", caller.models or self._names())
        if not caller.may_use(model.served.name):
            uses = ", ".join(caller.models)
            raise ModelNotFound(f"this key does not use {model.served.name!r}; it uses {uses}.", "model")
        return Handle(model, caller, self.answers)

    def models(self, caller: Caller) -> list[Served]:
        """Everything that `caller` can ask for, the default first, aliases last, under the name to ask with."""
        found = []
        for name in self._names():
            with suppress(EdgechatError):  # damaged or gone meanwhile: it cannot be asked for
                model = self._find(name)
                if model and caller.may_use(model.served.name):
                    found.append(named(model.served, name))
        return found

    def _find(self, name: str) -> Model | None:
        return next((model for kind in self._kinds if (model := kind.find(name))), None)

    def _names(self) -> list[str]:
        return [name for kind in self._kinds for name in kind.names()]

    # ── what is kept ──

    def forget(self, conversation: str) -> None:
        """Destroy what the engines keep of a conversation, and what those kept that are not loaded now."""
        self.keeper.forget(conversation)
        asyncio.get_running_loop().run_in_executor(None, erase, prefixes(self.settings.home), conversation)
