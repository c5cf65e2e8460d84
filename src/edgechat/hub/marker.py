"""models/<name>.json: what a name stands for, written last. A model without this file is not there.

      fetch beside                answers a probe
hub ───────────────► candidate ───────────────────► current ──► previous     (one update ago)
                         └─ does not: refused                ◄── rollback
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from edgechat.hub.blobs import is_whole
from edgechat.hub.reference import is_name, is_safe_path
from edgechat.hub.source import Manifest
from edgechat.process import atomic
from edgechat.process.cached import Cached
from edgechat.types import Struct

MOST_REFUSED = 20


class Version(Struct, frozen=True):
    """One set of bytes. `asked` is the reference as it was given; `pulled` is ISO 8601, UTC."""

    manifest: Manifest
    asked: str
    pulled: str


class Marker(Struct, frozen=True):
    """All that is kept about a name."""

    current: Version
    previous: Version | None = None
    candidate: Version | None = None  # fetched and checked; has not answered yet
    pinned: bool = False  # stays where it is
    refused: tuple[str, ...] = ()  # digests that did not answer, or that were rolled back
    newer: str | None = None  # the digest that the source has, where that is another one
    checked: str | None = None  # when the source was asked last

    @property
    def versions(self) -> list[Version]:
        """Every set of bytes that is kept."""
        return [version for version in (self.current, self.previous, self.candidate) if version is not None]


class Markers:
    """The markers of one folder. Reading never fails: a marker that is damaged counts as none, so a pull mends it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._cached = Cached(msgspec.json.Decoder(Marker).decode)

    def read(self, name: str) -> Marker | None:
        """The marker of `name`, if there is a sane one."""
        if not is_name(name):
            return None
        try:
            marker = self._cached.read(self._path(name))
        except (OSError, msgspec.DecodeError):
            return None
        return marker if all(_is_sane(version.manifest, name) for version in marker.versions) else None

    def all(self) -> Iterator[Marker]:
        """Every marker, by name."""
        names = sorted(path.stem for path in self.folder.glob("*.json"))
        return (marker for name in names if (marker := self.read(name)))

    def write(self, marker: Marker) -> None:
        """Keep `marker` for good."""
        atomic.replace(self._path(marker.current.manifest.name), msgspec.json.encode(marker))

    def delete(self, name: str) -> None:
        """Forget `name`."""
        self._path(name).unlink(missing_ok=True)
        atomic.flush_folder(self.folder)

    def _path(self, name: str) -> Path:
        assert is_name(name)
        return self.folder / f"{name}.json"


def now() -> str:
    """The time as it is kept: ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def refuse(marker: Marker, version: Version) -> tuple[str, ...]:
    """The marker's refused digests and that of `version`, the newest last."""
    digest = version.manifest.digest
    return (*(one for one in marker.refused if one != digest), digest)[-MOST_REFUSED:]


def _is_sane(manifest: Manifest, name: str) -> bool:
    files = manifest.files
    return (
        manifest.name == name
        and 0 < len(files) == len({file.path for file in files})
        and all(is_whole(file) and is_safe_path(file.path) for file in files)
    )
