"""Getting a model: from a name to a file whose every byte is the right one.

offline? ─► lock ─► Resolving ─► probe ─► child: resolve ─► pins, room ─► child: fetch ─► Verifying ─► Published
              │                                               (Fetching, from the staged files' size)
              └─ somebody else pulls it: their progress, then what they published
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from threading import Event
from typing import TypeVar

import msgspec
import structlog

from edgechat.errors import EdgechatError, HashMismatch, HubError, Offline, UnknownName
from edgechat.hub import probe
from edgechat.hub.catalog import Catalog, Entry
from edgechat.hub.errand import Errand
from edgechat.hub.reference import Local, Named, Reference, Remote, Repo, parse
from edgechat.hub.source import Manifest
from edgechat.hub.stage import Stage
from edgechat.hub.store import Store, Stored, writing
from edgechat.settings import Settings
from edgechat.types import Struct

POLL = 0.2  # seconds between two looks at the staged files

log = structlog.get_logger("hub")
T = TypeVar("T")


class PullEvent(Struct, frozen=True, tag=True):
    """How far a pull is. `Published` is the last one."""


class Resolving(PullEvent, frozen=True):
    """The source is being asked what it has."""

    source: str = ""


class Fetching(PullEvent, frozen=True):
    """`done` of `total` bytes are on disk. A total of 0 is not known yet."""

    done: int
    total: int

    @property
    def fraction(self) -> float | None:
        """From 0 to 1, where it is known."""
        return self.done / self.total if self.total else None


class Verifying(PullEvent, frozen=True):
    """All bytes are there and are being hashed."""


class Published(PullEvent, frozen=True):
    """The model can be served."""

    model: Stored


AnyPullEvent = Resolving | Fetching | Verifying | Published


async def pull(
    wanted: str | Reference, settings: Settings, store: Store, catalog: Catalog | None = None
) -> AsyncGenerator[AnyPullEvent, None]:
    """Get what `wanted` names, and tell how it goes. Closing the iterator stops it; bytes that are there are kept.

    A model that is on disk opens no connection. A catalog entry's sources are tried in order.
    Raises ConfigError, HubError or StorageError, one line each.
    """
    catalog = catalog or Catalog.load()
    found = _look(parse(wanted) if isinstance(wanted, str) else wanted, store, catalog)
    if isinstance(found, Stored):
        yield Published(found)
        return
    if isinstance(found, Local):
        yield Verifying()
        yield Published(await _in_thread(lambda stop: _lying(found.path, store, catalog, stop)))
        return
    entry, references = (found, found.references) if isinstance(found, Entry) else (catalog.of(found), (found,))
    if settings.offline:
        raise Offline(f"{wanted} is not on disk, and EDGECHAT_OFFLINE forbids to fetch it.")
    failures: list[HubError] = []
    for reference in references:
        try:
            async with aclosing(_Pull(reference, entry, settings, store, catalog).run()) as events:
                async for event in events:
                    yield event
            return
        except HubError as error:
            failures.append(error)
            if len(failures) < len(references):
                log.info("a source failed; the next one is tried", source=str(reference), why=str(error))
    raise failures[0] if len(failures) == 1 else type(failures[0])(" ".join(str(error) for error in failures))


def _look(reference: Reference, store: Store, catalog: Catalog) -> Stored | Entry | Local | Remote:
    """What is on disk under that name; else where it comes from."""
    if isinstance(reference, Local):
        return reference
    if isinstance(reference, Named):
        known = store.find(reference.name) or catalog.find(reference.name)
        if known is not None:
            return known
        if Path(reference.name).is_file():
            return Local(reference.name)
        names = {*catalog.names, *(model.name for model in store.list())}
        raise UnknownName("model", reference.name, sorted(names))
    entry = catalog.of(reference)
    return (store.find(entry.name) if entry else store.by_reference(str(reference))) or reference


def _lying(text: str, store: Store, catalog: Catalog, stop: Event) -> Stored:
    """The file at a path, served where it lies. Only bytes that the catalog knows get a name of the catalog."""
    stored = store.local(Path(text).expanduser().absolute(), catalog.names, stop)
    entry = catalog.by_sha256(stored.sha256)
    return msgspec.structs.replace(stored, name=entry.name, licence=entry.licence) if entry else stored


class _Pull:
    """One reference, from one source."""

    def __init__(
        self, reference: Remote, entry: Entry | None, settings: Settings, store: Store, catalog: Catalog
    ) -> None:
        self.reference = reference
        self.entry = entry
        self.settings = settings
        self.store = store
        self.reserved = [] if entry else catalog.names

    async def run(self) -> AsyncGenerator[AnyPullEvent, None]:
        """All the steps, under the reference's lock."""
        yield Resolving(str(self.reference))
        with writing(self.store.models):
            stage = self.store.stage(str(self.reference))
            while not stage.take():
                if (manifest := stage.manifest()) is not None:
                    yield _progress(stage, manifest)
                await asyncio.sleep(POLL)
        try:
            if (stored := self._published()) is not None:  # by whoever held the lock
                yield Published(stored)
                return
            async with aclosing(self._fetch(stage)) as events:
                async for event in events:
                    yield event
        except EdgechatError as error:
            if isinstance(error, HashMismatch) or not stage.staged():
                stage.clear()
            raise
        finally:
            stage.leave()

    async def _fetch(self, stage: Stage) -> AsyncGenerator[AnyPullEvent, None]:
        options = {}
        if isinstance(self.reference, Repo):
            options = {"endpoint": self.settings.modelscope_endpoint, "scratch": str(stage.scratch)}
            await probe.reachable(self.settings.modelscope_endpoint)
        async with Errand(self.reference, options, stage) as errand:
            manifest = self._pinned(await errand.resolve())
            if (stored := self._same(manifest)) is not None:
                yield Published(stored)
                return
            with writing(stage.root):
                stage.begin(manifest)
            self.store.check_room(manifest, staged=stage.staged())
            task = asyncio.create_task(errand.fetch(manifest, stage.files))
            try:
                while not task.done():
                    yield _progress(stage, manifest)
                    await asyncio.wait({task}, timeout=POLL)
                await task
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        yield Verifying()
        asked, reserved = str(self.reference), self.reserved
        yield Published(await _in_thread(lambda stop: self.store.publish(stage, manifest, asked, reserved, stop)))

    def _published(self) -> Stored | None:
        return self.store.find(self.entry.name) if self.entry else self.store.by_reference(str(self.reference))

    def _same(self, manifest: Manifest) -> Stored | None:
        """The same file of the same source, where it was pulled under another reference."""
        stored = self.store.by_reference(manifest.source)
        return stored if stored and stored.sha256 == manifest.files[0].sha256 else None

    def _pinned(self, manifest: Manifest) -> Manifest:
        """`manifest` with the catalog's size and hash, which the source must not contradict."""
        entry = self.entry
        if entry is None:
            return manifest
        (file,) = manifest.files
        if file.sha256 not in (None, entry.sha256) or file.size not in (None, entry.size):
            raise HashMismatch(
                f"{manifest.source} is not the file that edgechat knows: the hub lists {file.size} bytes with SHA-256 "
                f"{file.sha256}, not {entry.size} with {entry.sha256}. Nothing was fetched."
            )
        file = msgspec.structs.replace(file, size=entry.size, sha256=entry.sha256)
        return msgspec.structs.replace(manifest, name=entry.name, licence=entry.licence, files=(file,))


def _progress(stage: Stage, manifest: Manifest) -> Fetching:
    total = manifest.size or 0
    staged = stage.staged()
    return Fetching(min(staged, total) if total else staged, total)


async def _in_thread(work: Callable[[Event], T]) -> T:
    """Run `work` beside the loop. Cancelled, it is told to stop and waited for: it must not go on unwatched."""
    stop = Event()
    task = asyncio.create_task(asyncio.to_thread(work, stop))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.gather(task, return_exceptions=True)
        raise
