"""What a source of models is, and what it has: a manifest of files."""

import hashlib
from pathlib import Path
from typing import Any, Protocol

from edgechat.types import Struct


class File(Struct, frozen=True):
    """One file of a model. `path` is relative; `size` in bytes. None is what only the fetch will tell."""

    path: str
    size: int | None = None
    sha256: str | None = None  # 64 hex digits, lower case


class Manifest(Struct, frozen=True):
    """All that makes a model. The first file is the one to load, unless none is a .gguf: then it is their folder."""

    name: str
    source: str  # the whole reference, its file named
    revision: str
    files: tuple[File, ...]
    licence: str | None = None
    copies: int = 1  # how often its bytes lie on disk at most while it is fetched
    first_use: bool = False  # its source offers no hash: what came first is trusted, and pinned from then on
    made_from: str | None = None  # the model and recipe it was made from on this machine

    @property
    def size(self) -> int | None:
        """Bytes of all files, where they are known."""
        sizes = [file.size for file in self.files if file.size is not None]
        return sum(sizes) if len(sizes) == len(self.files) else None

    @property
    def digest(self) -> str:
        """What the model is, in 64 hex digits: its file's SHA-256; of several, that of their `sha256sum` lines."""
        if len(self.files) == 1:
            return self.files[0].sha256 or ""
        lines = "".join(f"{file.sha256}  {file.path}\n" for file in sorted(self.files, key=lambda file: file.path))
        return hashlib.sha256(lines.encode()).hexdigest()


class Source(Protocol):
    """Where models come from. Made, with its own options by keyword, and run only in the child process."""

    def resolve(self, reference: Any) -> Manifest:
        """What `reference` is, without fetching it. Raises HubError, one line."""
        ...

    def fetch(self, manifest: Manifest, staging: Path) -> None:
        """Put every file under `staging` at its path, going on from what is there. Raises HubError or StorageError."""
        ...
