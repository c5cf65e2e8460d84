"""The runtime: one server's models, found for whoever asks, from its start to its end.

find(name, caller) ─► the kind that has it (models/local.py) ─► a handle for this caller (models/handle.py)
start ─► startup.py gets the default model; every other one is loaded when somebody asks for it (models/keeper.py)
drain, stop ─► no answer is begun; those under way end, then the workers do
"""

import asyncio
from contextlib import suppress
from functools import partial
from typing import Protocol

import msgspec

from edgechat import machine, registry, types
from edgechat.engine.fit import DEFAULT_SHARE, free_memory
from edgechat.errors import EdgechatError, ModelNotFound, NotReady, ShuttingDown
from edgechat.hub.catalog import Catalog
from edgechat.hub.store import Store
from edgechat.models.answers import Answers
from edgechat.models.handle import Handle
from edgechat.models.keeper import Keeper
from edgechat.models.library import Library, named, prefixes
from edgechat.models.local import Locals
from edgechat.models.supervisor import LAST_WORDS_S
from edgechat.models.upkeep import Upkeep
from edgechat.scheduler.shelf import erase
from edgechat.settings import Settings
from edgechat.startup import Readiness, Startup
from edgechat.types import Caller, Failed, Model, Served


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
        self._startup = Startup(self.library, self.keeper, self._ring)
        self._tasks: list[asyncio.Task[None]] = []
        self.changed = asyncio.Event()  # set whenever the readiness may be a new one
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
        self._tasks = [asyncio.create_task(work) for work in (self._startup.run(), self.keeper.run(), upkeep.run())]

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

    def _ring(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    # ── what is there ──

    @property
    def readiness(self) -> Readiness:
        """What the doors say of it now."""
        if self.draining:
            return msgspec.structs.replace(self._startup.told, state="draining", why="the server ends")
        now = self._startup.readiness
        if self.paused and now.state == "ready":
            return msgspec.structs.replace(now, state="paused", why="an operator paused it")
        return now

    @property
    def failure(self) -> EdgechatError | None:
        """What kept the default model from ever answering."""
        return self._startup.failure

    @property
    def served(self) -> Served | None:
        """The default model, once it answers."""
        default = self._find("") if self._startup.told.state == "ready" else None
        return default.served if default else None

    def find(self, name: str | None, caller: Caller) -> Handle:
        """The model called `name`, loaded or not, as `caller` may use it; None is the default.

        Raises NotReady where there is no default yet, ModelNotFound for what is not here or outside the caller's key.
        """
        if not name and self.library.default is None:
            raise NotReady(f"no model answers yet ({self._startup.told.state}): see /readyz.")
        if not name and self._startup.told.state == "failed":
            raise NotReady("no model answers here: see /readyz.")
        model = self._find(name or "")
        if model is None:
            raise self.library.missing(name or "", caller.models or self._names())
        if not caller.may_use(model.name):
            uses = ", ".join(caller.models)
            raise ModelNotFound(f"this key does not use {model.name!r}; it uses {uses}.", "model")
        return Handle(model, caller, self.answers, partial(self.takers, caller))

    def models(self, caller: Caller) -> list[Served]:
        """Everything that `caller` can ask for, the default first, aliases last, under the name to ask with."""
        found = []
        for name in self._names():
            with suppress(EdgechatError):  # damaged or gone meanwhile: it cannot be asked for
                model = self._find(name)
                if model and caller.may_use(model.name):
                    found.append(named(model.served, name))
        return found

    def takers(self, caller: Caller, kind: types.Kind) -> list[str]:
        """The models of `caller`'s that take parts of that kind, by name."""
        return [served.name for served in self.models(caller) if kind in served.info.senses]

    def _find(self, name: str) -> Model | None:
        return next((model for kind in self._kinds if (model := kind.find(name))), None)

    def _names(self) -> list[str]:
        return [name for kind in self._kinds for name in kind.names()]

    # ── what is kept ──

    def forget(self, conversation: str) -> None:
        """Destroy what the engines keep of a conversation, and what those kept that are not loaded now."""
        self.keeper.forget(conversation)
        asyncio.get_running_loop().run_in_executor(None, erase, prefixes(self.settings.home), conversation)
