"""One model from one source: the only place where bytes come in from a network.

lock ─► Resolving ─► probe ─► child: resolve ─► pins, room ─► child: fetch ─► Verifying ─► Published
  │                                    (Fetching, from the staged files' size; only what is missing)
  └─ somebody else pulls it: their progress, then what they published
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Sequence
from contextlib import aclosing
from pathlib import PurePosixPath
from threading import Event
from typing import Any, TypeVar

import msgspec
import structlog

from edgechat.errors import EdgechatError, HashMismatch, HubUnreachable, NotOnHub
from edgechat.hub import probe, versions
from edgechat.hub.catalog import Catalog, Entry
from edgechat.hub.errand import Errand
from edgechat.hub.publish import check_room, missing, publish
from edgechat.hub.reference import Link, Remote, Repo
from edgechat.hub.source import File, Manifest
from edgechat.hub.stage import Stage
from edgechat.hub.store import Store, Stored
from edgechat.process.disk import writing
from edgechat.settings import Settings
from edgechat.types import Struct

POLL = 0.2  # seconds between two looks at the staged files
PATIENCE_S = 16.0  # for all hubs and mirrors of a model together to say what they have
LEAST_PATIENCE_S = 4.0  # for each of them

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
    rate: float | None = None  # bytes per second, lately

    @property
    def fraction(self) -> float | None:
        """From 0 to 1, where it is known."""
        return self.done / self.total if self.total else None

    @property
    def left_s(self) -> float | None:
        """Seconds until all bytes are there, where that can be told."""
        return (self.total - self.done) / self.rate if self.total and self.rate else None


class Verifying(PullEvent, frozen=True):
    """All bytes are there and are being hashed."""


class Published(PullEvent, frozen=True):
    """The model can be served."""

    model: Stored


AnyPullEvent = Resolving | Fetching | Verifying | Published


class Transfer:
    """One reference, from one source.

    With `beside`, what it has now becomes the candidate of that model, unless its digest is `refused`. Each hub and
    mirror has `patience` seconds to say what it has.
    """

    def __init__(
        self,
        reference: Remote,
        entry: Entry | None,
        settings: Settings,
        store: Store,
        catalog: Catalog,
        beside: Stored | None = None,
        refused: Collection[str] = (),
        patience: float = PATIENCE_S,
    ) -> None:
        self.reference = reference
        self.entry = entry
        self.settings = settings
        self.store = store
        self.beside = beside
        self.refused = refused
        self.patience = patience
        self.reserved = [] if entry else catalog.names

    async def run(self) -> AsyncGenerator[AnyPullEvent, None]:
        """All the steps, under the reference's lock."""
        yield Resolving(str(self.reference))
        with writing(self.store.models):
            stage, pace = self.store.stage(str(self.reference)), Pace()
            while not stage.take():
                if (manifest := stage.manifest()) is not None:
                    yield _progress(stage, manifest, pace)
                await asyncio.sleep(POLL)
        try:
            if self.beside is None and (stored := self._published()) is not None:  # by whoever held the lock
                yield Published(stored)
                return
            async with aclosing(self._from_somewhere(stage)) as events:
                async for event in events:
                    yield event
        except EdgechatError as error:
            if isinstance(error, HashMismatch) or not stage.staged():
                stage.clear()
            raise
        finally:
            stage.leave()

    async def _from_somewhere(self, stage: Stage) -> AsyncGenerator[AnyPullEvent, None]:
        """From the hub; where it cannot be reached, from its mirrors. They are trusted as far as the hub is: not."""
        ways = source_options(self.reference, self.settings, stage)
        for i, options in enumerate(ways):
            try:
                async with aclosing(self._fetch(stage, options)) as events:
                    async for event in events:
                        yield event
                return
            except HubUnreachable as error:
                if i == len(ways) - 1:
                    raise
                log.info("a hub fails; its next mirror is tried", why=str(error))

    async def _fetch(self, stage: Stage, options: dict[str, str]) -> AsyncGenerator[AnyPullEvent, None]:
        address = self.reference.url if isinstance(self.reference, Link) else options.get("endpoint")
        if address is not None:
            await probe.reachable(address)
        async with Errand(self.reference, options, stage, self.patience) as errand:
            manifest = self._pinned(await errand.resolve())
            if (stored := self._same(manifest)) is not None:
                yield Published(stored)
                return
            with writing(stage.root):
                stage.begin(manifest)
            part = msgspec.structs.replace(manifest, files=await in_thread(lambda _: missing(self.store, manifest)))
            check_room(self.store, part, staged=stage.staged())
            if part.files:
                async with aclosing(_progress_of(errand.fetch(part, stage.files), stage, part)) as steps:
                    async for step in steps:
                        yield step
        yield Verifying()
        asked, beside = str(self.reference), self.beside.name if self.beside else None
        yield Published(
            await in_thread(lambda stop: publish(self.store, stage, manifest, asked, self.reserved, stop, beside))
        )

    def _published(self) -> Stored | None:
        return self.store.find(self.entry.name) if self.entry else self.store.by_reference(str(self.reference))

    def _same(self, manifest: Manifest) -> Stored | None:
        """The same bytes of the same source, where they are here already; or what stays where they are refused."""
        if self.beside is None:
            stored = self.store.by_reference(manifest.source)
            return stored if stored and stored.sha256 == manifest.digest else None
        if manifest.digest in (self.beside.sha256, *self.refused):
            return self.beside
        versions.note(self.store, self.beside.name, manifest.digest)
        candidate = self.store.candidate(self.beside.name)
        return candidate if candidate and candidate.sha256 == manifest.digest else None

    def _pinned(self, manifest: Manifest) -> Manifest:
        """`manifest` with the sizes and hashes that are known already, which the source must not contradict."""
        entry = self.entry
        sure = entry.pins if entry else {}
        pins = self.store.first_use(manifest.source) | sure
        believed = any(file.sha256 is None and last(file) not in sure for file in manifest.files)
        files = tuple(_pin(file, pins.get(last(file)), manifest) for file in manifest.files)
        manifest = msgspec.structs.replace(manifest, files=files, first_use=believed)
        if entry is None:
            return manifest
        gone = {last(file) for file in entry.companions} - {last(file) for file in files}
        if gone:
            raise NotOnHub(f"{manifest.source}: {', '.join(gone)} belongs to it and is not listed with it.")
        return msgspec.structs.replace(manifest, name=entry.name, licence=entry.licence)


def last(file: File) -> str:
    """The last part of its path: folders differ from source to source."""
    return PurePosixPath(file.path).name


def _pin(file: File, pin: File | None, manifest: Manifest) -> File:
    """`file`, which must be what `pin` says, where there is one."""
    if pin is None:
        return file
    size = file.size if pin.size is None else pin.size
    if file.sha256 not in (None, pin.sha256) or file.size not in (None, size):
        raise HashMismatch(
            f"{manifest.source} is not the file that edgechat knows: the hub lists {file.size} bytes with SHA-256 "
            f"{file.sha256}, not {size} with {pin.sha256}. Nothing was fetched."
        )
    return msgspec.structs.replace(file, size=size, sha256=pin.sha256)


def source_options(reference: Remote, settings: Settings, stage: Stage) -> list[dict[str, str]]:
    """What each way to the source of `reference` is told: the hub, then its mirrors."""
    if not isinstance(reference, Repo):
        return [{}]
    if reference.scheme == "hf":
        return [{"endpoint": settings.hf_endpoint, "scratch": str(stage.scratch)}]
    endpoints = (settings.modelscope_endpoint, *settings.modelscope_mirrors)
    # The token is the hub's: no mirror sees it.
    return [
        {"endpoint": endpoint, "scratch": str(stage.scratch), "token": "" if i else "yes"}
        for i, endpoint in enumerate(endpoints)
    ]


def patience(references: Sequence[Remote], settings: Settings) -> float:
    """Seconds that each way to each source has to say what it has: together they take no longer than one alone."""
    mirrors = len(settings.modelscope_mirrors)
    ways = sum(1 + (isinstance(one, Repo) and one.scheme == "modelscope") * mirrors for one in references)
    return max(LEAST_PATIENCE_S, PATIENCE_S / max(ways, 1))


class Pace:
    """Bytes per second over the last seconds."""

    WINDOW_S = 5.0

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def rate(self, done: int) -> float | None:
        """Now `done` bytes are there; None until that tells something."""
        now = time.monotonic()
        self._seen.append((now, done))
        while now - self._seen[0][0] > self.WINDOW_S:
            self._seen.popleft()
        then, before = self._seen[0]
        return (done - before) / (now - then) if now > then and done > before else None


async def _progress_of(
    fetch: Coroutine[Any, Any, None], stage: Stage, part: Manifest
) -> AsyncGenerator[Fetching, None]:
    """Run `fetch`, and tell how far it is. Closed, it ends the fetch."""
    task, pace = asyncio.create_task(fetch), Pace()
    try:
        while not task.done():
            yield _progress(stage, part, pace)
            await asyncio.wait({task}, timeout=POLL)
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _progress(stage: Stage, manifest: Manifest, pace: Pace) -> Fetching:
    total, staged = manifest.size or 0, stage.staged()
    done = min(staged, total) if total else staged
    return Fetching(done, total, pace.rate(done))


async def in_thread(work: Callable[[Event], T]) -> T:
    """Run `work` beside the loop. Cancelled, it is told to stop and waited for: it must not go on unwatched."""
    stop = Event()
    task = asyncio.create_task(asyncio.to_thread(work, stop))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.gather(task, return_exceptions=True)
        raise
