"""A running server follows the store: a new version takes over, a removed model leaves, and no request fails.

every WATCH_S      for each loaded model: another version on disk? ─► loaded beside, tried ─► switched, old drained
                                                └─ it does not answer: the store goes back to the one that does
                   removed from disk? ─► it finishes its answers and leaves
"""

import asyncio

import structlog

from edgechat.errors import EdgechatError
from edgechat.hub.store import Stored
from edgechat.library import Library
from edgechat.worker.keeper import Keeper
from edgechat.worker.resident import Resident

WATCH_S = 2.0  # seconds between two looks at the store

log = structlog.get_logger("upkeep")


class Upkeep:
    """Keeps what is loaded in step with what is on disk."""

    def __init__(self, library: Library, keeper: Keeper) -> None:
        self._library = library
        self._store = library.store
        self._keeper = keeper
        self._refused: set[str] = set()  # what did not answer, by SHA-256: it is not tried again

    async def run(self) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                await self.look()
            except EdgechatError as error:
                log.warning("models on disk cannot be looked after", why=str(error))
            except OSError as error:
                log.warning("models on disk cannot be read", why=error.strerror)

    async def look(self) -> None:
        """Act on what is another one on disk than in memory."""
        for resident in self._keeper.residents:
            if resident.leaving or resident.trial or resident.info is None:
                continue
            if resident.name not in await asyncio.to_thread(self._store.names) and not self._outside(resident):
                log.info("removed from disk: it finishes its answers", model=resident.name)
                self._keeper.keep(resident.name, 0)
                continue
            stored = await asyncio.to_thread(self._library.find, resident.name)
            if stored is not None:
                file = await asyncio.to_thread(self._library.file, stored)
                if file.sha256 not in (resident.wanted.load.digest, *self._refused):
                    await self._switch(stored, file)

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
                await asyncio.to_thread(self._store.rollback, name)
