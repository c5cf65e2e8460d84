"""What is on disk, and the only way in: hashed, flushed, renamed, and named last.

models/blobs/sha256-<hex>.gguf    the bytes, read-only, under their own hash
models/<name>.json                what they are; a model without this file is not there
models/staging/                   pulls under way (stage.py)
"""

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import msgspec
from filelock import FileLock

from edgechat.errors import ConfigError, HashMismatch, HubError, NoSpace, StorageError
from edgechat.hub.reference import is_name, is_safe_path, name_from
from edgechat.hub.source import File, Manifest
from edgechat.hub.stage import Stage
from edgechat.types import Struct

CHUNK = 1 << 20  # bytes
MARGIN = 64 << 20  # bytes left free for everyone else
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Stored(Struct, frozen=True):
    """A whole model on this machine. `pulled` is None for a file that lies outside the store."""

    name: str
    path: Path
    sha256: str
    size: int  # bytes
    source: str
    revision: str
    licence: str | None = None
    pulled: str | None = None  # ISO 8601, UTC


class Marker(Struct, frozen=True):
    """The content of models/<name>.json. `asked` is the reference as it was given."""

    manifest: Manifest
    asked: str
    pulled: str


class Store:
    """The models under one home folder."""

    def __init__(self, home: Path) -> None:
        self.models = home / "models"
        self.blobs = self.models / "blobs"
        self.staging = self.models / "staging"

    # ── looking ──

    def find(self, name: str) -> Stored | None:
        """The model called `name`, if it is there and whole."""
        marker = self._marker(name)
        return self._stored(marker) if marker else None

    def by_reference(self, reference: str) -> Stored | None:
        """The model that `reference` names in full, or that was pulled as `reference`."""
        for marker in self._markers():
            if reference in (marker.asked, marker.manifest.source):
                return self._stored(marker)
        return None

    def list(self) -> list[Stored]:
        """Every whole model, by name."""
        return [stored for marker in self._markers() if (stored := self._stored(marker))]

    def local(self, path: Path, reserved: Collection[str] = (), stop: Event | None = None) -> Stored:
        """The file at `path`, to be served where it lies. It is hashed, not copied. See `publish` for `reserved`."""
        try:
            if not path.is_file():
                raise ConfigError(f"there is no model file at {path}.")
            sha256, size = _hash(path, stop)
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
        name = self._free_name(name_from(path.name), sha256, reserved)
        return Stored(name, path, sha256, size, source=str(path), revision="")

    def _markers(self) -> Iterator[Marker]:
        names = sorted(path.stem for path in self.models.glob("*.json"))
        return (marker for name in names if (marker := self._marker(name)))

    def _marker(self, name: str) -> Marker | None:
        """The marker of `name`; one that is damaged counts as none, so that a pull mends it."""
        if not is_name(name):
            return None
        try:
            marker = msgspec.json.decode((self.models / f"{name}.json").read_bytes(), type=Marker)
        except (OSError, msgspec.DecodeError):
            return None
        return marker if marker.manifest.name == name and marker.manifest.files else None

    def _stored(self, marker: Marker) -> Stored | None:
        """The marker's model, unless its bytes are gone, cut off, or lie outside the store."""
        manifest, file = marker.manifest, marker.manifest.files[0]
        if file.sha256 is None or file.size is None or _SHA256.fullmatch(file.sha256) is None:
            return None
        path = self.blob(file.sha256)
        try:
            inside = path.resolve(strict=True).parent == self.blobs.resolve()
            whole = path.is_file() and path.stat().st_size == file.size
        except OSError:
            return None
        if not (inside and whole):
            return None
        source, revision = manifest.source, manifest.revision
        return Stored(manifest.name, path, file.sha256, file.size, source, revision, manifest.licence, marker.pulled)

    # ── taking in ──

    def blob(self, sha256: str) -> Path:
        """Where the bytes of that hash lie. `sha256` was checked by the caller."""
        assert _SHA256.fullmatch(sha256)
        return self.blobs / f"sha256-{sha256}.gguf"

    def stage(self, reference: str) -> Stage:
        """The staging folder for `reference`."""
        return Stage(self.staging, reference)

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
    ) -> Stored:
        """Take in what `stage` holds: hash, flush, rename, and the marker last. The stage is gone afterwards.

        A derived name that is `reserved`, or taken by other bytes, gets a piece of the hash. Raises HashMismatch
        (and deletes the bytes) if they are not what `manifest` says; HubError if `stop` was set meanwhile.
        """
        with writing(self.models):
            files = tuple(self._checked(stage, file, stop) for file in manifest.files)
            self.blobs.mkdir(parents=True, exist_ok=True)
            for file in files:
                assert file.sha256 is not None
                self._take_in(stage.files / file.path, self.blob(file.sha256))
            with FileLock(self.staging / "names.lock"):
                assert files[0].sha256 is not None
                name = self._free_name(manifest.name, files[0].sha256, reserved)
                manifest = msgspec.structs.replace(manifest, name=name, files=files)
                marker = Marker(manifest, asked, datetime.now(UTC).isoformat(timespec="seconds"))
                self._write(self.models / f"{name}.json", msgspec.json.encode(marker))
            stage.clear()
        stored = self._stored(marker)
        assert stored is not None
        return stored

    def _checked(self, stage: Stage, file: File, stop: Event | None) -> File:
        """`file` with the size and hash its bytes really have, which must be those it claims."""
        if not is_safe_path(file.path):
            raise HubError(f"{file.path!r} is no safe path.")
        path = stage.files / file.path
        if path.is_symlink() or not path.is_file():
            raise HubError(f"{file.path} was not fetched; pull again.")
        sha256, size = _hash(path, stop)
        if file.size not in (None, size) or file.sha256 not in (None, sha256):
            stage.clear()
            raise HashMismatch(
                f"{file.path} is not what was asked for: {size} bytes with SHA-256 {sha256}, not {file.size} bytes "
                f"with {file.sha256}. It was deleted."
            )
        return File(file.path, size, sha256)

    def _take_in(self, staged: Path, blob: Path) -> None:
        with staged.open("rb") as bytes_:
            os.fsync(bytes_.fileno())
        staged.chmod(0o444)
        staged.replace(blob)
        _flush_folder(self.blobs)

    def _write(self, path: Path, content: bytes) -> None:
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _flush_folder(path.parent)

    def _free_name(self, name: str, sha256: str, reserved: Collection[str]) -> str:
        other = self.find(name)
        taken = other is not None and other.sha256 != sha256
        return f"{name}-{sha256[:8]}" if taken or name in reserved else name


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the disk refuses becomes one of our errors, with the place."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(f"{path}: the disk is full. Free some space and try again.") from error
        reason = error.strerror or str(error)
        raise StorageError(f"{path} cannot be written: {reason}. Choose another place with EDGECHAT_HOME.") from error


def megabytes(count: int) -> str:
    """`count` bytes as text for people."""
    return f"{count / 1e9:,.2f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _hash(path: Path, stop: Event | None) -> tuple[str, int]:
    """SHA-256 and size of the bytes at `path`, read in pieces."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            if stop is not None and stop.is_set():
                raise HubError(f"{path.name}: stopped while its bytes were being checked.")
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def _flush_folder(folder: Path) -> None:
    """Make renames in `folder` last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
