"""Content-addressed storage: what is on disk, and whether it is whole.

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

publish.py takes models in; versions.py changes what a name stands for, and removes.
"""

from collections.abc import Collection
from pathlib import Path, PurePosixPath
from threading import Event

from filelock import FileLock

from edgechat.errors import ModelDamaged, UnknownName
from edgechat.hub.blobs import Blobs, Hold
from edgechat.hub.hashes import Hashes
from edgechat.hub.local import survey
from edgechat.hub.marker import Marker, Markers, Version
from edgechat.hub.reference import SUFFIX
from edgechat.hub.source import File, Manifest
from edgechat.hub.stage import Stage
from edgechat.hub.stored import Kept, Stored

__all__ = ["Hold", "Kept", "Store", "Stored"]


class Store:
    """The models under one home folder."""

    def __init__(self, home: Path) -> None:
        self.models = home / "models"
        self.staging = self.models / "staging"
        self.sets = self.models / "sets"
        self.hashes = Hashes(self.models / ".hashes")
        self.blobs = Blobs(self.models / "blobs", self.hashes)
        self.markers = Markers(self.models)

    # ── looking ──

    def find(self, name: str) -> Stored | None:
        """The model called `name`, if it is there and nothing is known to be wrong with it."""
        return self._whole(marker.current) if (marker := self.markers.read(name)) else None

    def by_reference(self, reference: str) -> Stored | None:
        """The whole model that `reference` names in full, or that was pulled as `reference`."""
        marker = self._referred(reference)
        return self._whole(marker.current) if marker else None

    def list(self) -> list[Stored]:
        """Every whole model, by name."""
        return [stored for marker in self.markers.all() if (stored := self._whole(marker.current))]

    def names(self) -> tuple[str, ...]:
        """Every name, damaged ones too."""
        return tuple(marker.current.manifest.name for marker in self.markers.all())

    def kept(self) -> tuple[Kept, ...]:
        """Every name, by name, damaged ones too."""
        return tuple(
            Kept(
                model=self.stored(marker.current),
                wrong=self.wrong(marker.current),
                pinned=marker.pinned,
                previous=self.stored(marker.previous) if marker.previous else None,
                candidate=self.stored(marker.candidate) if marker.candidate else None,
                newer=marker.newer,
                checked=marker.checked,
            )
            for marker in self.markers.all()
        )

    def current(self, name: str) -> Stored:
        """The version that `name` stands for, whole or not. Raises UnknownName."""
        return self.stored(self.marker(name).current)

    def previous(self, name: str) -> Stored | None:
        """The version that `name` stood for before its last update, if it is there and whole."""
        marker = self.markers.read(name)
        return self._whole(marker.previous) if marker and marker.previous else None

    def candidate(self, name: str) -> Stored | None:
        """The version that was fetched for `name` and has not answered yet, if it is there and whole."""
        marker = self.markers.read(name)
        return self._whole(marker.candidate) if marker and marker.candidate else None

    def marker(self, name: str) -> Marker:
        """All that is kept about `name`. Raises UnknownName."""
        marker = self.markers.read(name)
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
        """The file or folder at `place`, to be served where it lies: read once, not copied. See `free_name` too."""
        manifest, folder = survey(place, self.hashes, stop)
        files = tuple(folder / file.path for file in manifest.files)
        is_gguf = len(files) == 1 or files[0].name.lower().endswith(SUFFIX)
        size = manifest.size
        assert size is not None
        return Stored(
            name=self.free_name(manifest.name, manifest.digest, reserved),
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
        marker = self.markers.read(stored.name) if stored.pulled else None
        return marker is None or all(self.blobs.is_examined(file) for file in _version(marker, stored).files)

    def ensure(self, stored: Stored, stop: Event | None = None) -> None:
        """Raise ModelDamaged unless the bytes are those that were published; they are read if they changed since."""
        marker = self.markers.read(stored.name) if stored.pulled else None
        if marker is None:
            return  # a file that lies elsewhere: it was read to be found
        for file in _version(marker, stored).files:
            if found := self.blobs.examine(file, stop):
                raise ModelDamaged(f"{stored.name} is damaged: {found}. Get it again: edgechat pull {stored.name}")

    # ── holding ──

    def hold(self, stored: Stored) -> Hold:
        """Keep the bytes of `stored` until the hold is released. Raises ModelDamaged if they are gone already."""
        try:
            return Hold(stored.files)
        except OSError as error:
            raise ModelDamaged(f"{stored.name} is not on disk any more. Get it again: edgechat pull") from error

    def is_held(self, stored: Stored) -> bool:
        """Whether somebody reads the model now, here or in another process."""
        return any(self.blobs.is_held(path) for path in stored.files)

    # ── for publish.py and versions.py ──

    def stage(self, reference: str) -> Stage:
        """The staging folder for `reference`."""
        return Stage.of(self.staging, reference)

    def lock(self) -> FileLock:
        """Held by whoever writes a marker, or deletes what none names."""
        self.staging.mkdir(parents=True, exist_ok=True)
        return FileLock(self.staging / "names.lock")

    def free_name(self, name: str, sha256: str, reserved: Collection[str]) -> str:
        """`name`; with a piece of the hash where it is `reserved`, or taken by other bytes."""
        other = self.markers.read(name)
        taken = other is not None and other.current.manifest.digest != sha256
        return f"{name}-{sha256[:8]}" if taken or name in reserved else name

    def wrong(self, version: Version) -> str | None:
        """What a look at the bytes of `version` finds, without reading them."""
        return next((found for file in version.manifest.files if (found := self.blobs.wrong(file))), None)

    def stored(self, version: Version) -> Stored:
        """`version` as a model on this machine, whole or not."""
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

    # ── inside ──

    def _whole(self, version: Version) -> Stored | None:
        return self.stored(version) if self.wrong(version) is None else None

    def _referred(self, reference: str) -> Marker | None:
        for marker in self.markers.all():
            if reference in (marker.current.asked, marker.current.manifest.source):
                return marker
        return None


def _version(marker: Marker, stored: Stored) -> Manifest:
    """The manifest of `marker` that is `stored`'s."""
    for version in marker.versions:
        if version.manifest.digest == stored.sha256:
            return version.manifest
    raise ModelDamaged(f"{stored.name} is another model by now. Get it again: edgechat pull")
