"""Models that are on this machine already: served where they lie, or copied in."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from edgechat.errors import ConfigError, HubError
from edgechat.hub.choice import choose, manifest_of
from edgechat.hub.hashes import CHUNK, Hashes
from edgechat.hub.reference import SUFFIX, Repo, is_safe_path, name_from
from edgechat.hub.source import File, Manifest


@dataclass
class _Row:
    path: str
    size: int
    sha256: str | None = None
    type: str = "blob"


def survey(place: Path, hashes: Hashes, stop: Event | None = None) -> tuple[Manifest, Path]:
    """What the file or folder at `place` is, every byte of it read or remembered; and the folder its files are in.

    A file brings its further parts, a folder its only model. Raises ConfigError with one line.
    """
    try:
        if not place.exists():
            raise ConfigError(f"there is no model file at {place}.")
        folder = place if place.is_dir() else place.parent
        rows = list(_rows(folder)) if place.is_dir() or place.name.lower().endswith(SUFFIX) else []
        asked = Repo("here", folder.name or "root", file=None if place.is_dir() else place.name)
        whole = rows or place.is_dir()
        chosen = _choose(rows, asked, place) if whole else (_Row(place.name, place.stat().st_size),)
        if not place.is_dir():  # a projector that lies about is not meant
            chosen = tuple(row for row in chosen if "mmproj" not in row.path or row.path == place.name)
        made = manifest_of(chosen, asked, "")
        files = tuple(
            File(file.path, (folder / file.path).stat().st_size, hashes.of(folder / file.path, stop))
            for file in made.files
        )
    except HubError as error:
        raise ConfigError(f"there is no model file at {place}: {str(error).partition(': ')[2]}") from error
    except OSError as error:
        raise ConfigError(f"{place} cannot be read: {error.strerror}.") from error
    name = made.name if whole else name_from(place.name)  # a single file is itself, whatever lies beside it
    return Manifest(name, str(place), "", files), folder


def _choose(rows: list[_Row], asked: Repo, place: Path) -> tuple[_Row, ...]:
    """As of a hub's listing; why a folder's model cannot be told is said in its own words."""
    models = sorted(row.path for row in rows if row.path.lower().endswith(SUFFIX))
    try:
        return choose(rows, asked)
    except ConfigError as error:
        if not place.is_dir():
            raise
        raise ConfigError(f"{place} holds several models: name one of them, such as {place / models[0]}.") from error
    except HubError as error:
        if models or not place.is_dir():
            raise
        what = f"no {SUFFIX} file, and no snapshot in safetensors"
        raise ConfigError(f"there is no model in the folder {place}: {what}.") from error


def copy(manifest: Manifest, folder: Path, staging: Path, stop: Event) -> None:
    """Put the files of `manifest` from `folder` under `staging`. May raise OSError; HubError if `stop` was set."""
    for file in manifest.files:
        target = staging / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        with (folder / file.path).open("rb") as source, target.open("wb") as out:
            while chunk := source.read(CHUNK):
                if stop.is_set():
                    raise HubError(f"{file.path}: stopped while it was copied.")
                out.write(chunk)
        shutil.copystat(folder / file.path, target)


def _rows(folder: Path) -> Iterator[_Row]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file() and is_safe_path(entry.name):
                yield _Row(entry.name, entry.stat().st_size)
