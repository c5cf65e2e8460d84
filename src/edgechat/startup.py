"""Startup and readiness: get the default model, load it, tell the truth.

choose ─► pull (downloading) ─► load (loading) ─► ready
   │         └─ the default cannot be had: a model on disk that speaks as many languages, and why
   │              └─ none is: the small model that comes as a package, and why
   └─ a model that the user named is never replaced: failed, and why
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, Literal

import msgspec
import structlog

from edgechat.errors import EdgechatError, HubError, ModelFileInvalid, StorageError
from edgechat.gguf.header import read_header
from edgechat.hub.pull import Fetching, Published, Resolving, Verifying, pull
from edgechat.hub.stored import Stored
from edgechat.i18n import t
from edgechat.models.keeper import Keeper
from edgechat.models.library import Library
from edgechat.types import UNTAUGHT, Kind, Struct

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
    senses: tuple[Kind, ...] = ()  # what it takes beside text, once it answers
    patch: int = 0  # as of its ModelInfo

    def told(self) -> dict[str, Any]:
        """As JSON, with the reason in the language of whoever asks."""
        about: dict[str, Any] = msgspec.to_builtins(self)
        return about | {"why": self.why and t(self.why)}


class Startup:
    """The way of a server's default model into memory, and what became of it there."""

    def __init__(self, library: Library, keeper: Keeper, changed: Callable[[], None]) -> None:
        """`changed` is called whenever the readiness may be a new one."""
        self._library = library
        self._keeper = keeper
        self._changed = changed
        self.told = Readiness("starting", library.settings.model or library.catalog.default)  # how far the way is
        self.failure: EdgechatError | None = None

    @property
    def readiness(self) -> Readiness:
        """The state now. The default counts as ready while it makes room for others: who asks gets it back."""
        now, default = self.told, self._library.default
        if now.state == "ready" and default and self._library.find(None) is None:
            gone = f"{default.name} is not on disk any more, or damaged"
            return msgspec.structs.replace(now, state="failed", why=gone, hint=f"edgechat pull {default.name}")
        resident = self._keeper.resident(default.name) if default else None
        if resident is None or resident.ready or now.state not in ("loading", "ready"):
            return now
        if now.state == "ready" and resident.failure is not None:
            return msgspec.structs.replace(now, state="failed", why=str(resident.failure))
        why = "the engine's process ended; it is being started again" if resident.measured else now.why
        return msgspec.structs.replace(now, state="loading", why=why, progress=resident.loading.fraction)

    async def run(self) -> None:
        """Get the default model and load it. What keeps it away is the `failure`."""
        try:
            stored = await self._obtain()
            await self._load(stored)
            await self._library.learn()
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
        wanted, catalog = self._library.settings.model, self._library.catalog
        if wanted is not None:
            return await self._pull(wanted)
        default, fallback = catalog.default, catalog.fallback
        try:
            return await self._pull(default)
        except (HubError, StorageError) as error:
            hint = f"edgechat pull {default}"
            instead = await asyncio.to_thread(self._on_disk) or fallback
            self._tell(model=instead, wanted=default, why=str(error), hint=hint)
        return await self._pull(instead)

    def _on_disk(self) -> str | None:
        """A model that is here and speaks more than English: the catalog's first, else a Qwen of the user's own."""
        catalog = self._library.catalog
        here = {kept.model.name: kept.model.path for kept in self._library.store.kept() if kept.wrong is None}
        known = [entry.name for entry in catalog.model if entry.name in here and "zh" in entry.languages]
        others = [name for name, path in here.items() if catalog.find(name) is None and _is_qwen(path)]
        return next(iter([*known, *others]), None)

    async def _pull(self, reference: str) -> Stored:
        self._tell(state="starting", model=reference, progress=None, download=None)
        async with aclosing(pull(reference, self._library.settings, self._library.store)) as steps:
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
        entry = self._library.catalog.find(stored.name)
        languages = entry.languages if entry else ()
        self._tell(state="loading", model=stored.name, progress=None, download=None, languages=languages)
        await asyncio.to_thread(self._library.wanted, stored)  # reads the header
        self._library.default = stored
        info = await self._keeper.load(self._library.wanted(stored))
        notes = [*info.notes, *([UNTAUGHT] if info.untaught else [])]
        self._tell(
            state="ready",
            progress=None,
            senses=info.senses,
            patch=info.patch,
            why=self.told.why or "; ".join(notes) or None,
        )

    def _tell(self, **news: object) -> None:
        self.told = msgspec.structs.replace(self.told, **news)
        self._changed()


def _is_qwen(path: Path) -> bool:
    """Whether the file holds a Qwen that chats."""
    try:
        header = read_header(path)
    except ModelFileInvalid:
        return False
    return header.architecture.startswith("qwen") and header.template is not None
