"""What the store tells about a model."""

from pathlib import Path

from edgechat.types import Struct


class Stored(Struct, frozen=True):
    """A model on this machine. `path` is what an engine loads: a file, or the folder of a model without a .gguf."""

    name: str
    path: Path
    sha256: str  # of the file; of several, see Manifest.digest
    size: int  # bytes
    source: str
    revision: str
    licence: str | None = None
    pulled: str | None = None  # ISO 8601, UTC; None for a file that lies outside the store
    files: tuple[Path, ...] = ()  # where the bytes lie
    companions: tuple[Path, ...] = ()  # further .gguf files that belong to it, such as its mmproj
    first_use: bool = False  # its source offers no hash: what came first was trusted
    made_from: str | None = None  # what it was made from on this machine


class Kept(Struct, frozen=True):
    """One name of the store. `wrong` is what a look at its bytes found."""

    model: Stored
    wrong: str | None
    pinned: bool
    previous: Stored | None
    candidate: Stored | None
    newer: str | None  # the digest that its source has, where that is another one
    checked: str | None  # when its source was asked last
