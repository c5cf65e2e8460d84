"""Version management: what a name stands for changes here, and what no name needs any more is collected (gc).

publish(…, beside=name) ─► promote(name) or reject(name)      an update, after its probe
rollback(name), pin(name, …), note(name, …)
remove(name), gc()            what is held goes when it is let go and one of these runs again
"""

import shutil
from collections.abc import Callable

import msgspec

from edgechat.errors import ConfigError, ModelDamaged
from edgechat.hub.blobs import Freed
from edgechat.hub.marker import Marker, now, refuse
from edgechat.hub.stage import sweep_stages
from edgechat.hub.store import Store, Stored
from edgechat.process.disk import writing


def pin(store: Store, name: str, pinned: bool) -> None:
    """Keep `name` where it is whatever its source has, or no more."""
    _change(store, name, lambda marker: msgspec.structs.replace(marker, pinned=pinned))


def note(store: Store, name: str, newer: str | None) -> None:
    """Remember that the source was asked now, and the digest of what it has, where that is another one."""
    _change(store, name, lambda marker: msgspec.structs.replace(marker, newer=newer, checked=now()))


def promote(store: Store, name: str) -> Stored:
    """The candidate of `name` answers: it is the current version, and the old one the previous."""

    def change(marker: Marker) -> Marker:
        if marker.candidate is None:
            raise ConfigError(f"nothing was fetched for {name}: edgechat update {name}")
        old = marker.current
        return msgspec.structs.replace(marker, current=marker.candidate, previous=old, candidate=None, newer=None)

    return store.stored(_change(store, name, change).current)


def reject(store: Store, name: str) -> None:
    """The candidate of `name` does not answer: it is dropped, and not taken again unasked."""

    def change(marker: Marker) -> Marker:
        refused = refuse(marker, marker.candidate) if marker.candidate else marker.refused
        return msgspec.structs.replace(marker, candidate=None, refused=refused)

    _change(store, name, change)


def rollback(store: Store, name: str) -> Stored:
    """Return `name` to its previous version. What it leaves is then the previous one, and not taken unasked."""

    def change(marker: Marker) -> Marker:
        old, current = marker.previous, marker.current
        if old is None:
            raise ConfigError(f"there is no earlier version of {name}.")
        if (found := store.wrong(old)) is not None:
            raise ModelDamaged(f"the earlier version of {name} is damaged: {found}. {name} stays as it is.")
        refused = refuse(marker, current)
        return msgspec.structs.replace(marker, current=old, previous=current, refused=refused)

    return store.stored(_change(store, name, change).current)


def remove(store: Store, name: str) -> Freed:
    """Forget `name` and delete the bytes that nothing else needs. Raises UnknownName."""
    store.marker(name)
    with writing(store.models), store.lock():
        store.markers.delete(name)
        return _sweep(store)


def gc(store: Store, previous: bool = False) -> Freed:
    """Delete stages that nobody works on and bytes that no name needs; `previous` versions too, if so asked."""
    if not store.models.is_dir():
        return Freed()
    with writing(store.models), store.lock():
        if previous:
            for marker in [marker for marker in store.markers.all() if marker.previous]:
                store.markers.write(msgspec.structs.replace(marker, previous=None))
        for part in store.models.glob("*.part"):
            part.unlink(missing_ok=True)
        staged, freed = sweep_stages(store.staging), _sweep(store)
    return Freed(staged + freed.bytes, freed.held)


def _change(store: Store, name: str, change: Callable[[Marker], Marker]) -> Marker:
    """Write the changed marker of `name`, and delete the bytes that no marker needs any more."""
    store.marker(name)
    with writing(store.models), store.lock():
        before = store.marker(name)
        after = change(before)
        store.markers.write(after)
        if after.versions != before.versions:
            _sweep(store)
    return after


def _sweep(store: Store) -> Freed:
    manifests = [version.manifest for marker in store.markers.all() for version in marker.versions]
    wanted = {manifest.digest for manifest in manifests}
    for folder in store.sets.glob("*"):
        if folder.name not in wanted:
            shutil.rmtree(folder, ignore_errors=True)
    return store.blobs.sweep({store.blobs.path(file) for manifest in manifests for file in manifest.files})
