"""What is on disk, and the only way in: hashed, flushed, renamed, and named last.

models/<name>.json       what a name stands for (marker.py)
models/blobs/            the bytes (blobs.py)
models/sets/<digest>/    a model of several files, each under its own name: links into blobs
models/staging/          pulls under way (stage.py)
models/.hashes           what need not be read again (hashes.py)

For whoever serves models:

    find(name)                    the version to load; None when it is not there or not whole
    ensure(stored)                before every load: raises ModelDamaged unless its bytes are those that were published
    hold(stored)                  keeps the bytes while they are read, whatever is removed meanwhile
    kept()                        every name with its versions, pin and damage
    publish(…, beside=name) ─► candidate(name) ─► promote(name) or reject(name)       an update, then its probe
    previous(name), rollback(name), pin(name, bool), note(name, …)
    remove(name), gc()            what is held goes when it is let go and one of these runs again
"""

import os
import shutil
from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath
from threading import Event

import msgspec
from filelock import FileLock

from edgechat.errors import ConfigError, HashMismatch, HubError, ModelDamaged, NoSpace, UnknownName
from edgechat.hub.blobs import Blobs, Freed, Hold
from edgechat.hub.disk import MARGIN, megabytes, now, writing
from edgechat.hub.hashes import Hashes
from edgechat.hub.local import survey
from edgechat.hub.marker import Marker, Markers, Version, refuse
from edgechat.hub.reference import SUFFIX, is_safe_path
from edgechat.hub.source import File, Manifest
from edgechat.hub.stage import Stage, sweep_stages
from edgechat.hub.stored import Kept, Stored

__all__ = ["Freed", "Hold", "Kept", "Store", "Stored"]


class Store:
    """The models under one home folder."""

    def __init__(self, home: Path) -> None:
        self.models = home / "models"
        self.staging = self.models / "staging"
        self.sets = self.models / "sets"
        self.hashes = Hashes(self.models / ".hashes")
        self.blobs = Blobs(self.models / "blobs", self.hashes)
        self._markers = Markers(self.models)

    # ── looking ──

    def find(self, name: str) -> Stored | None:
        """The model called `name`, if it is there and nothing is known to be wrong with it."""
        return self._whole(marker.current) if (marker := self._markers.read(name)) else None

    def by_reference(self, reference: str) -> Stored | None:
        """The whole model that `reference` names in full, or that was pulled as `reference`."""
        marker = self._referred(reference)
        return self._whole(marker.current) if marker else None

    def list(self) -> list[Stored]:
        """Every whole model, by name."""
        return [stored for marker in self._markers.all() if (stored := self._whole(marker.current))]

    def names(self) -> tuple[str, ...]:
        """Every name, damaged ones too."""
        return tuple(marker.current.manifest.name for marker in self._markers.all())

    def kept(self) -> tuple[Kept, ...]:
        """Every name, by name, damaged ones too."""
        return tuple(
            Kept(
                model=self._stored(marker.current),
                wrong=self._wrong(marker.current),
                pinned=marker.pinned,
                previous=self._stored(marker.previous) if marker.previous else None,
                candidate=self._stored(marker.candidate) if marker.candidate else None,
                newer=marker.newer,
                checked=marker.checked,
            )
            for marker in self._markers.all()
        )

    def current(self, name: str) -> Stored:
        """The version that `name` stands for, whole or not. Raises UnknownName."""
        return self._stored(self.marker(name).current)

    def previous(self, name: str) -> Stored | None:
        """The version that `name` stood for before its last update, if it is there and whole."""
        marker = self._markers.read(name)
        return self._whole(marker.previous) if marker and marker.previous else None

    def candidate(self, name: str) -> Stored | None:
        """The version that was fetched for `name` and has not answered yet, if it is there and whole."""
        marker = self._markers.read(name)
        return self._whole(marker.candidate) if marker and marker.candidate else None

    def marker(self, name: str) -> Marker:
        """All that is kept about `name`. Raises UnknownName."""
        marker = self._markers.read(name)
        if marker is None:
            raise UnknownName("model on disk", name, [*self.names()])
        return marker

    def first_use(self, source: str) -> dict[str, File]:
        """What came first from a `source` that offers no hash, by last name: it must be the same again."""
        marker = self._referred(source)
        manifest = marker.current.manifest if marker else None
        return (
            {PurePosixPath(file.path).name: file for file in manifest.files} if manifest and manifest.first_use else {}
        )

    def local(self, place: Path, reserved: Collection[str] = (), stop: Event | None = None) -> Stored:
        """The file or folder at `place`, to be served where it lies: read once, not copied. See `publish` too."""
        manifest, folder = survey(place, self.hashes, stop)
        files = tuple(folder / file.path for file in manifest.files)
        is_gguf = len(files) == 1 or files[0].name.lower().endswith(SUFFIX)
        size = manifest.size
        assert size is not None
        return Stored(
            name=self._free_name(manifest.name, manifest.digest, reserved),
            path=files[0] if is_gguf else folder,
            sha256=manifest.digest,
            size=size,
            source=str(place),
            revision="",
            files=files,
            companions=files[1:] if is_gguf else (),
        )

    # ── checking ──

    def examine(self, name: str, stop: Event | None = None, fresh: bool = True) -> tuple[str, ...]:
        """What is wrong with the bytes of `name`, a line for each bad file; `fresh` reads every byte again."""
        files = self.marker(name).current.manifest.files
        return tuple(found for file in files if (found := self.blobs.examine(file, stop, fresh)))

    def is_examined(self, stored: Stored) -> bool:
        """Whether `ensure` need not read the bytes: they are the same files as when they were read."""
        marker = self._markers.read(stored.name) if stored.pulled else None
        return marker is None or all(self.blobs.is_examined(file) for file in self._version(marker, stored).files)

    def ensure(self, stored: Stored, stop: Event | None = None) -> None:
        """Raise ModelDamaged unless the bytes are those that were published; they are read if they changed since."""
        marker = self._markers.read(stored.name) if stored.pulled else None
        if marker is None:
            return  # a file that lies elsewhere: it was read to be found
        for file in self._version(marker, stored).files:
            if found := self.blobs.examine(file, stop):
                raise ModelDamaged(f"{stored.name} is damaged: {found}. Get it again: edgechat pull {stored.name}")

    def hold(self, stored: Stored) -> Hold:
        """Keep the bytes of `stored` until the hold is released. Raises ModelDamaged if they are gone already."""
        try:
            return Hold(stored.files)
        except OSError as error:
            raise ModelDamaged(f"{stored.name} is not on disk any more. Get it again: edgechat pull") from error

    def is_held(self, stored: Stored) -> bool:
        """Whether somebody reads the model now, here or in another process."""
        return any(self.blobs.is_held(path) for path in stored.files)

    # ── taking in ──

    def stage(self, reference: str) -> Stage:
        """The staging folder for `reference`."""
        return Stage.of(self.staging, reference)

    def missing(self, manifest: Manifest) -> tuple[File, ...]:
        """The files of `manifest` whose bytes are not here, or are not right."""
        return tuple(
            file for file in manifest.files if file.sha256 is None or file.size is None or self.blobs.examine(file)
        )

    def check_room(self, manifest: Manifest, staged: int = 0) -> None:
        """Raise NoSpace, with both numbers, if `manifest` does not fit beside the `staged` bytes it has already."""
        with writing(self.models):
            self.models.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.models).free
        needed = max((manifest.size or 0) * manifest.copies - staged, 0) + MARGIN
        if needed > free:
            raise NoSpace(
                f"{manifest.name} needs {megabytes(needed)} at {self.models}, and {megabytes(free)} are free. "
                "Free some, or choose another place with EDGECHAT_HOME."
            )

    def publish(
        self,
        stage: Stage,
        manifest: Manifest,
        asked: str,
        reserved: Collection[str] = (),
        stop: Event | None = None,
        beside: str | None = None,
    ) -> Stored:
        """Take in what `stage` holds: read, flush, rename, and the marker last. The stage is gone afterwards.

        A file of `manifest` that is here already need not be staged. A derived name that is `reserved`, or taken by
        other bytes, gets a piece of the hash. With `beside`, the model becomes the candidate of that name. Raises
        HashMismatch (and deletes the bytes) if they are not what `manifest` says; HubError if `stop` was set meanwhile.
        """
        with writing(self.models):
            self.blobs.folder.mkdir(parents=True, exist_ok=True)
            files = tuple(self._checked(stage, file, stop) for file in manifest.files)
            with self._names():
                for file in files:
                    if (staged := stage.files / file.path).exists():
                        self.blobs.take(staged, file)
                manifest = msgspec.structs.replace(manifest, files=files)
                name = beside or self._free_name(manifest.name, manifest.digest, reserved)
                version = Version(msgspec.structs.replace(manifest, name=name), asked, now())
                self._link(version.manifest)
                self._markers.write(self._marked(version, beside))
            stage.clear()
        return self._stored(version)

    def _checked(self, stage: Stage, file: File, stop: Event | None) -> File:
        """`file` with the size and hash its bytes really have, which must be those it claims."""
        if not is_safe_path(file.path):
            raise HubError(f"{file.path!r} is no safe path.")
        path = stage.files / file.path
        if not path.is_symlink() and not path.exists() and file.sha256 and self.blobs.wrong(file) is None:
            return file
        if path.is_symlink() or not path.is_file():
            raise HubError(f"{file.path} was not fetched; pull again.")
        sha256, size = self.hashes.of(path, stop), path.stat().st_size
        if file.size not in (None, size) or file.sha256 not in (None, sha256):
            stage.clear()
            raise HashMismatch(
                f"{file.path} is not what was asked for: {size} bytes with SHA-256 {sha256}, not {file.size} bytes "
                f"with {file.sha256}. It was deleted."
            )
        return File(file.path, size, sha256)

    def _marked(self, version: Version, beside: str | None) -> Marker:
        """The marker that has `version` as its current one, or as its candidate."""
        known = self._markers.read(version.manifest.name)
        if beside is not None:
            marker = self.marker(beside)
            news = None if version.manifest.digest == marker.current.manifest.digest else version
            return msgspec.structs.replace(marker, candidate=news, checked=now())
        return Marker(version) if known is None else msgspec.structs.replace(known, current=version)

    def _link(self, manifest: Manifest) -> None:
        """Give the files of a model of several their own names in one folder."""
        if len(manifest.files) == 1:
            return
        for file in manifest.files:
            link, blob = self.sets / manifest.digest / file.path, self.blobs.path(file)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(os.path.relpath(blob, link.parent))

    # ── versions ──

    def pin(self, name: str, pinned: bool) -> None:
        """Keep `name` where it is whatever its source has, or no more."""
        self._change(name, lambda marker: msgspec.structs.replace(marker, pinned=pinned))

    def note(self, name: str, newer: str | None) -> None:
        """Remember that the source was asked now, and the digest of what it has, where that is another one."""
        self._change(name, lambda marker: msgspec.structs.replace(marker, newer=newer, checked=now()))

    def promote(self, name: str) -> Stored:
        """The candidate of `name` answers: it is the current version, and the old one the previous."""

        def change(marker: Marker) -> Marker:
            if marker.candidate is None:
                raise ConfigError(f"nothing was fetched for {name}: edgechat update {name}")
            old = marker.current
            return msgspec.structs.replace(marker, current=marker.candidate, previous=old, candidate=None, newer=None)

        return self._stored(self._change(name, change).current)

    def reject(self, name: str) -> None:
        """The candidate of `name` does not answer: it is dropped, and not taken again unasked."""

        def change(marker: Marker) -> Marker:
            refused = refuse(marker, marker.candidate) if marker.candidate else marker.refused
            return msgspec.structs.replace(marker, candidate=None, refused=refused)

        self._change(name, change)

    def rollback(self, name: str) -> Stored:
        """Return `name` to its previous version. What it leaves is then the previous one, and not taken unasked."""

        def change(marker: Marker) -> Marker:
            old, current = marker.previous, marker.current
            if old is None:
                raise ConfigError(f"there is no earlier version of {name}.")
            if (found := self._wrong(old)) is not None:
                raise ModelDamaged(f"the earlier version of {name} is damaged: {found}. {name} stays as it is.")
            refused = refuse(marker, current)
            return msgspec.structs.replace(marker, current=old, previous=current, refused=refused)

        return self._stored(self._change(name, change).current)

    def _change(self, name: str, change: Callable[[Marker], Marker]) -> Marker:
        """Write the changed marker of `name`, and delete the bytes that no marker needs any more."""
        self.marker(name)
        with writing(self.models), self._names():
            before = self.marker(name)
            after = change(before)
            self._markers.write(after)
            if after.versions != before.versions:
                self._sweep()
        return after

    # ── going ──

    def remove(self, name: str) -> Freed:
        """Forget `name` and delete the bytes that nothing else needs. Raises UnknownName."""
        self.marker(name)
        with writing(self.models), self._names():
            self._markers.delete(name)
            return self._sweep()

    def gc(self, previous: bool = False) -> Freed:
        """Delete stages that nobody works on and bytes that no name needs; `previous` versions too, if so asked."""
        if not self.models.is_dir():
            return Freed()
        with writing(self.models), self._names():
            if previous:
                for marker in [marker for marker in self._markers.all() if marker.previous]:
                    self._markers.write(msgspec.structs.replace(marker, previous=None))
            for part in self.models.glob("*.part"):
                part.unlink(missing_ok=True)
            staged, freed = sweep_stages(self.staging), self._sweep()
        return Freed(staged + freed.bytes, freed.held)

    def _sweep(self) -> Freed:
        manifests = [version.manifest for marker in self._markers.all() for version in marker.versions]
        wanted = {manifest.digest for manifest in manifests}
        for folder in self.sets.glob("*"):
            if folder.name not in wanted:
                shutil.rmtree(folder, ignore_errors=True)
        return self.blobs.sweep({self.blobs.path(file) for manifest in manifests for file in manifest.files})

    # ── between marker and model ──

    def _names(self) -> FileLock:
        """Whoever writes a marker, or deletes what none names, does it alone."""
        self.staging.mkdir(parents=True, exist_ok=True)
        return FileLock(self.staging / "names.lock")

    def _wrong(self, version: Version) -> str | None:
        return next((found for file in version.manifest.files if (found := self.blobs.wrong(file))), None)

    def _whole(self, version: Version) -> Stored | None:
        return self._stored(version) if self._wrong(version) is None else None

    def _stored(self, version: Version) -> Stored:
        manifest = version.manifest
        folder, first = self.sets / manifest.digest, manifest.files[0]
        is_set, is_gguf = len(manifest.files) > 1, first.path.lower().endswith(SUFFIX)
        path = self.blobs.path(first) if not is_set else folder / first.path if is_gguf else folder
        size = manifest.size
        assert size is not None
        return Stored(
            name=manifest.name,
            path=path,
            sha256=manifest.digest,
            size=size,
            source=manifest.source,
            revision=manifest.revision,
            licence=manifest.licence,
            pulled=version.pulled,
            files=tuple(self.blobs.path(file) for file in manifest.files),
            companions=tuple(folder / file.path for file in manifest.files[1:] if is_gguf),
            first_use=manifest.first_use,
            made_from=manifest.made_from,
        )

    def _version(self, marker: Marker, stored: Stored) -> Manifest:
        """The manifest of `marker` that is `stored`'s."""
        for version in marker.versions:
            if version.manifest.digest == stored.sha256:
                return version.manifest
        raise ModelDamaged(f"{stored.name} is another model by now. Get it again: edgechat pull")

    def _referred(self, reference: str) -> Marker | None:
        for marker in self._markers.all():
            if reference in (marker.current.asked, marker.current.manifest.source):
                return marker
        return None

    def _free_name(self, name: str, sha256: str, reserved: Collection[str]) -> str:
        other = self._markers.read(name)
        taken = other is not None and other.current.manifest.digest != sha256
        return f"{name}-{sha256[:8]}" if taken or name in reserved else name
