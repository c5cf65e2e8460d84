"""The folder where one pull gathers its bytes. It outlives the process, so that the next pull goes on from there.

staging/<key>/manifest.json     what is being fetched; another manifest empties the folder
              files/…           the model's files, whole or in part
              scratch/          what the source's own tool keeps
              log               what the child process printed last
staging/<key>.lock              one pull of a reference at a time, across processes
"""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Self

import msgspec
from filelock import FileLock, Timeout

from edgechat.hub.source import Manifest
from edgechat.process import atomic


class Stage:
    """The staging folder of one reference."""

    def __init__(self, staging: Path, key: str) -> None:
        self.root = staging / key
        self.files = self.root / "files"
        self.scratch = self.root / "scratch"
        self.log = self.root / "log"
        self._manifest = self.root / "manifest.json"
        self._lock = FileLock(staging / f"{key}.lock")

    @classmethod
    def of(cls, staging: Path, reference: str) -> Self:
        """The folder for `reference`."""
        return cls(staging, hashlib.sha256(reference.encode()).hexdigest()[:24])

    def take(self) -> bool:
        """Become the one who pulls; False while another process or task is."""
        self.root.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            return False
        return True

    def leave(self) -> None:
        """Let the next one pull."""
        self._lock.release()

    def begin(self, manifest: Manifest) -> None:
        """Make ready for `manifest`. Bytes of an earlier try are kept if they were meant for the same one."""
        if self.manifest() != manifest:
            shutil.rmtree(self.files, ignore_errors=True)
        self.files.mkdir(parents=True, exist_ok=True)
        atomic.replace(self._manifest, msgspec.json.encode(manifest), durable=False)

    def manifest(self) -> Manifest | None:
        """What is being fetched, if that was agreed on."""
        try:
            return msgspec.json.decode(self._manifest.read_bytes(), type=Manifest)
        except (OSError, msgspec.DecodeError):
            return None

    def staged(self) -> int:
        """Bytes of the model that lie here, packed or not."""
        total = 0
        for where, _, names in os.walk(self.files):
            for name in names:
                try:
                    total += (Path(where) / name).lstat().st_size
                except OSError:
                    continue  # renamed while we looked
        return total

    def clear(self) -> None:
        """Delete all that was gathered."""
        shutil.rmtree(self.root, ignore_errors=True)


def sweep_stages(staging: Path) -> int:
    """Delete the stages that nobody works on; returns the bytes that gave back."""
    freed = 0
    for lock in staging.glob("*.lock"):
        stage = Stage(staging, lock.stem)
        if stage.root.is_dir() and stage.take():
            freed += stage.staged()
            stage.clear()
            stage.leave()
    return freed
