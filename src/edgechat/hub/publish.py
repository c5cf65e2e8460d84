"""Publishing: the only way into the store. Bytes are hashed, flushed and renamed, and named last.

stage ─ checked against the manifest ─► blobs ─► sets ─► marker          (a candidate, beside a model that serves)
"""

import os
import shutil
from collections.abc import Collection
from threading import Event

import msgspec

from edgechat.errors import HashMismatch, HubError, NoSpace
from edgechat.hub.marker import Marker, Version, now
from edgechat.hub.reference import is_safe_path
from edgechat.hub.source import File, Manifest
from edgechat.hub.stage import Stage
from edgechat.hub.store import Store, Stored
from edgechat.process.disk import MARGIN, megabytes, writing


def missing(store: Store, manifest: Manifest) -> tuple[File, ...]:
    """The files of `manifest` whose bytes are not here, or are not right."""
    return tuple(
        file for file in manifest.files if file.sha256 is None or file.size is None or store.blobs.examine(file)
    )


def check_room(store: Store, manifest: Manifest, staged: int = 0) -> None:
    """Raise NoSpace, with both numbers, if `manifest` does not fit beside the `staged` bytes it has already."""
    with writing(store.models):
        store.models.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(store.models).free
    needed = max((manifest.size or 0) * manifest.copies - staged, 0) + MARGIN
    if needed > free:
        raise NoSpace(
            f"{manifest.name} needs {megabytes(needed)} at {store.models}, and {megabytes(free)} are free. "
            "Free some, or choose another place with EDGECHAT_HOME."
        )


def publish(
    store: Store,
    stage: Stage,
    manifest: Manifest,
    asked: str,
    reserved: Collection[str] = (),
    stop: Event | None = None,
    beside: str | None = None,
) -> Stored:
    """Take in what `stage` holds: read, flush, rename, and the marker last. The stage is gone afterwards.

    A file of `manifest` that is here already need not be staged. A derived name that is `reserved`, or taken by other
    bytes, gets a piece of the hash. With `beside`, the model becomes the candidate of that name. Raises HashMismatch
    (and deletes the bytes) if they are not what `manifest` says; HubError if `stop` was set meanwhile.
    """
    with writing(store.models):
        store.blobs.folder.mkdir(parents=True, exist_ok=True)
        files = tuple(_checked(store, stage, file, stop) for file in manifest.files)
        with store.lock():
            for file in files:
                if (staged := stage.files / file.path).exists():
                    store.blobs.take(staged, file)
            manifest = msgspec.structs.replace(manifest, files=files)
            name = beside or store.free_name(manifest.name, manifest.digest, reserved)
            version = Version(msgspec.structs.replace(manifest, name=name), asked, now())
            _link(store, version.manifest)
            store.markers.write(_marked(store, version, beside))
        stage.clear()
    return store.stored(version)


def _checked(store: Store, stage: Stage, file: File, stop: Event | None) -> File:
    """`file` with the size and hash its bytes really have, which must be those it claims."""
    if not is_safe_path(file.path):
        raise HubError(f"{file.path!r} is no safe path.")
    path = stage.files / file.path
    if not path.is_symlink() and not path.exists() and file.sha256 and store.blobs.wrong(file) is None:
        return file
    if path.is_symlink() or not path.is_file():
        raise HubError(f"{file.path} was not fetched; pull again.")
    sha256, size = store.hashes.of(path, stop), path.stat().st_size
    if file.size not in (None, size) or file.sha256 not in (None, sha256):
        stage.clear()
        raise HashMismatch(
            f"{file.path} is not what was asked for: {size} bytes with SHA-256 {sha256}, not {file.size} bytes "
            f"with {file.sha256}. It was deleted."
        )
    return File(file.path, size, sha256)


def _marked(store: Store, version: Version, beside: str | None) -> Marker:
    """The marker that has `version` as its current one, or as its candidate."""
    known = store.markers.read(version.manifest.name)
    if beside is not None:
        marker = store.marker(beside)
        news = None if version.manifest.digest == marker.current.manifest.digest else version
        return msgspec.structs.replace(marker, candidate=news, checked=now())
    return Marker(version) if known is None else msgspec.structs.replace(known, current=version)


def _link(store: Store, manifest: Manifest) -> None:
    """Give the files of a model of several their own names in one folder."""
    if len(manifest.files) == 1:
        return
    for file in manifest.files:
        link, blob = store.sets / manifest.digest / file.path, store.blobs.path(file)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
