"""Getting a model: from a name to a file whose every byte is the right one.

on disk, and whole? ─► Published
   │ no
offline? ─► one source after the other (transfer.py), or the file or folder that lies here already (local.py)
"""

import os
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from pathlib import Path
from threading import Event

import msgspec
import structlog

from edgechat.errors import HubError, ModelDamaged, Offline, StorageError, UnknownName
from edgechat.hub import local, outbound
from edgechat.hub.catalog import Catalog, Entry
from edgechat.hub.publish import check_room, publish
from edgechat.hub.reference import Local, Named, Reference, Remote, parse
from edgechat.hub.store import Store, Stored
from edgechat.hub.transfer import (
    AnyPullEvent,
    Fetching,
    Published,
    PullEvent,
    Resolving,
    Transfer,
    Verifying,
    in_thread,
    patience,
)
from edgechat.process.disk import writing
from edgechat.settings import Settings

__all__ = ["AnyPullEvent", "Fetching", "Published", "PullEvent", "Resolving", "Verifying", "in_thread", "pull"]

log = structlog.get_logger("hub")


async def pull(
    wanted: str | Reference, settings: Settings, store: Store, catalog: Catalog | None = None, copy: bool = False
) -> AsyncGenerator[AnyPullEvent, None]:
    """Get what `wanted` names, and tell how it goes. Closing the iterator stops it; bytes that are there are kept.

    What is on this machine already is served where it lies, unless it is to be taken in as a `copy`.

    A model that is on disk opens no connection; one that is damaged is mended. A catalog entry's sources are tried in
    order. Raises ConfigError, HubError, StorageError or ModelDamaged, one line each.
    """
    catalog = catalog or Catalog.load(settings.home)
    found = _look(parse(wanted) if isinstance(wanted, str) else wanted, store, catalog)
    if isinstance(found, Local):
        place = _absolute(found.path)
        yield Verifying()
        work = _copied if copy else _lying
        yield Published(await in_thread(lambda stop: work(place, store, catalog, stop)))
        return
    if isinstance(found, Stored):
        stored = found
        if not store.is_examined(stored):
            yield Verifying()
        try:
            await in_thread(lambda stop: store.ensure(stored, stop))
            yield Published(stored)
            return
        except ModelDamaged as error:
            log.warning("a model is damaged and is fetched again", why=str(error))
            found = origin(stored.name, store, catalog)
    entry, references = (found, found.references) if isinstance(found, Entry) else (catalog.of(found), (found,))
    if settings.offline:
        why = _damage(str(wanted), store) or f"{wanted} is not on disk"
        raise Offline(f"{why}, and EDGECHAT_OFFLINE forbids to fetch it.")
    try:
        async with aclosing(first_that_works(references, entry, settings, store, catalog)) as events:
            async for event in events:
                yield event
    except HubError as error:
        if damage := _damage(str(wanted), store):  # or a model that was here yesterday would seem to be a hub's fault
            raise type(error)(f"{damage}, and cannot be fetched again: {error}") from None
        raise


async def first_that_works(
    references: Sequence[Remote],
    entry: Entry | None,
    settings: Settings,
    store: Store,
    catalog: Catalog,
    beside: Stored | None = None,
    refused: Collection[str] = (),
) -> AsyncGenerator[AnyPullEvent, None]:
    """Transfer from one reference after the other until one can be had. Raises what all of them complained about."""
    outbound.check_proxies(os.environ)
    failures: list[HubError] = []
    limit = patience(references, settings)
    for reference in references:
        transfer = Transfer(reference, entry, settings, store, catalog, beside, refused, limit)
        try:
            async with aclosing(transfer.run()) as events:
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
        known = store.find(reference.name)
        if known is not None:
            return known
        if catalog.find(reference.name) or reference.name in store.names():
            return origin(reference.name, store, catalog)
        if Path(reference.name).is_file():
            return Local(reference.name)
        raise UnknownName("model", reference.name, sorted({*catalog.names, *store.names()}))
    entry = catalog.of(reference)
    return (store.find(entry.name) if entry else store.by_reference(str(reference))) or reference


def _damage(wanted: str, store: Store) -> str | None:
    """What is wrong with what is on disk of it, if that is the reason why it is not served from there."""
    for kept in store.kept():
        if kept.wrong and wanted in (kept.model.name, kept.model.source):
            return f"{kept.model.name} is damaged ({kept.wrong})"
    return None


def origin(name: str, store: Store, catalog: Catalog) -> Entry | Remote:
    """Where the model called `name` comes from. Raises ModelDamaged for one that was made here."""
    entry = catalog.find(name)
    if entry is not None:
        return entry
    version = store.marker(name).current
    if version.manifest.made_from is not None:
        made_from = version.manifest.made_from
        raise ModelDamaged(f"{name} was made here from {made_from}; no source has it. Make it again: edgechat quantize")
    reference = parse(version.asked)
    if not isinstance(reference, Remote):
        raise ModelDamaged(f"{name} was copied from {version.asked}. Copy it again: edgechat pull --copy PATH")
    return reference


def _absolute(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _lying(place: Path, store: Store, catalog: Catalog, stop: Event) -> Stored:
    """The file or folder at `place`, served where it lies. Only bytes that the catalog knows get a name of it."""
    stored = store.local(place, catalog.names, stop)
    entry = catalog.by_sha256(stored.sha256)
    return msgspec.structs.replace(stored, name=entry.name, licence=entry.licence) if entry else stored


def _copied(place: Path, store: Store, catalog: Catalog, stop: Event) -> Stored:
    """The file or folder at `place`, taken into the store."""
    manifest, folder = local.survey(place, store.hashes, stop)
    entry = catalog.by_sha256(manifest.digest)
    if entry is not None:
        manifest = msgspec.structs.replace(manifest, name=entry.name, licence=entry.licence)
    check_room(store, manifest)
    stage = store.stage(str(place))
    with writing(store.models):
        if not stage.take():
            raise StorageError(f"{place} is being copied already.")
    try:
        with writing(stage.root):
            stage.clear()
            stage.begin(manifest)
            local.copy(manifest, folder, stage.files, stop)
        return publish(store, stage, manifest, str(place), () if entry else catalog.names, stop)
    finally:
        stage.clear()
        stage.leave()
