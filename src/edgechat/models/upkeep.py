"""A running server follows the store: a new version takes over, a removed model leaves, and no request fails.

every WATCH_S      for each loaded model: another version on disk? ─► loaded beside, tried ─► switched, old drained
                                                └─ it does not answer: the store goes back to the one that does
                   removed from disk? ─► it finishes its answers and leaves
hub_check_every    for each model on disk: its source is asked; what is newer is fetched beside, tried, switched to
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime

import structlog

from edgechat.errors import EdgechatError, ModelDamaged
from edgechat.hub import versions
from edgechat.hub.store import Stored
from edgechat.hub.update import Beside, update
from edgechat.models.keeper import Keeper
from edgechat.models.library import Library
from edgechat.models.resident import Resident

WATCH_S = 2.0  # seconds between two looks at the store
DUE_S = 30.0  # seconds between two looks whether a source is to be asked again
HOUR_S = 3600.0

log = structlog.get_logger("upkeep")


class Upkeep:
    """Keeps what is loaded in step with what is on disk."""

    def __init__(self, library: Library, keeper: Keeper) -> None:
        self._library = library
        self._store = library.store
        self._keeper = keeper
        self._refused: set[str] = set()  # what did not answer, by SHA-256: it is not tried again
        self._asked: dict[str, datetime] = {}  # when a model's source was asked last, by name

    async def run(self) -> None:
        """Look again and again. A slow download does not keep anybody from looking at the disk."""
        await asyncio.gather(self._every(WATCH_S, self.look), self._every(DUE_S, self.ask_sources))

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except EdgechatError as error:
                log.warning("models on disk cannot be looked after", why=str(error))
            except OSError as error:
                log.warning("models on disk cannot be read", why=error.strerror)

    async def look(self) -> None:
        """Act on what is another one on disk than in memory."""
        await self._library.learn()
        for resident in self._keeper.residents:
            if resident.leaving or resident.trial or resident.info is None:
                continue
            if resident.name not in await asyncio.to_thread(self._store.names) and not self._outside(resident):
                log.info("removed from disk: it finishes its answers", model=resident.name)
                self._keeper.keep(resident.name, 0)
                continue
            if isinstance(resident.failure, ModelDamaged):
                await self._mended(resident)
                continue
            stored = await asyncio.to_thread(self._library.find, resident.name)
            if stored is not None:
                file = await asyncio.to_thread(self._library.file, stored)
                if file.sha256 not in (resident.wanted.load.digest, *self._refused):
                    await self._switch(stored, file)

    async def _mended(self, resident: Resident) -> None:
        """Load the default model again once its bytes are right: nobody asks a server that is not ready."""
        default = self._library.default
        if default is None or resident.name != default.name:
            return
        stored = await asyncio.to_thread(self._library.find, None)
        if stored is not None and self._keeper.may_try_again(resident):
            await self._keeper.load(await asyncio.to_thread(self._library.wanted, stored))

    def _outside(self, resident: Resident) -> bool:
        """Whether it never was in the store."""
        default = self._library.default
        return default is not None and default.pulled is None and default.name == resident.name

    async def _switch(self, stored: Stored, file: Stored) -> None:
        """Let what is on disk take over: a new version, or the `file` that tuning chose for it.

        If it does not answer, the store returns to the version before, or the tuning's result is dropped.
        """
        name = stored.name
        try:
            wanted = await asyncio.to_thread(self._library.wanted, stored)
            await self._keeper.replace(wanted)
            log.info("switched", model=name, sha256=file.sha256)
        except EdgechatError as error:
            self._refused.add(file.sha256)
            log.error("switch refused: the one before answers on", model=name, why=str(error))
            if file.sha256 != stored.sha256:
                await asyncio.to_thread(self._library.records.forget, stored.sha256)
            else:
                await asyncio.to_thread(versions.rollback, self._store, name)

    # ── newer versions ──

    async def ask_sources(self) -> None:
        """Ask the source of every model that was not asked for as long as the settings say."""
        for name in await asyncio.to_thread(self._due):
            await self._update(name)

    def _due(self) -> list[str]:
        every, now = self._library.settings.hub_check_every * HOUR_S, datetime.now(UTC)
        if not every or self._library.settings.offline:
            return []
        due = []
        for kept in self._store.kept():
            last = self._asked.get(kept.model.name)
            if last is None and kept.checked:
                last = datetime.fromisoformat(kept.checked)
            if last is None or not 0 <= (now - last).total_seconds() < every:  # in the future: the clock was set back
                due.append(kept.model.name)
        return due

    async def _update(self, name: str) -> None:
        """Ask the source of `name`; what it has now takes over once it has answered a probe."""
        self._asked[name] = datetime.now(UTC)
        settings = self._library.settings
        try:
            async with aclosing(update(name, settings, self._store, asked=False)) as steps:
                async for step in steps:
                    if isinstance(step, Beside):
                        await self._take(step.candidate)
        except EdgechatError as error:
            log.warning("no update", model=name, why=str(error))

    async def _take(self, candidate: Stored) -> None:
        """Let the candidate take over, or drop it. Raises why it was dropped."""
        name = candidate.name
        try:
            wanted = await asyncio.to_thread(self._library.wanted, candidate)
            await self._keeper.replace(wanted, accept=lambda: versions.promote(self._store, name))
        except EdgechatError:
            await asyncio.to_thread(versions.reject, self._store, name)
            raise
        log.info("updated", model=name, sha256=candidate.sha256)
