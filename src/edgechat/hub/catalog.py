"""The models that have a name: where they are, what their bytes hash to, what their licence allows. Read from TOML.

catalog.toml in the home folder adds a person's own: `[[model]]` with `name` and `sources`, and what else is known.
"""

import re
import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Self

import msgspec

from edgechat.errors import ConfigError, UnknownName
from edgechat.hub.reference import Package, Remote, Repo, is_name, parse
from edgechat.hub.source import File
from edgechat.types import Kind, Sampling, Struct


class Entry(Struct, frozen=True):
    """One model. Where size or hash is not known, the source's are taken; where it has none, the first bytes are."""

    name: str
    sources: tuple[str, ...]  # references, tried in this order
    file: str = ""  # the file's own name, used by every source that does not name another
    size: int | None = None  # bytes of that file
    sha256: str | None = None
    companions: tuple[File, ...] = ()  # what else belongs to it: further parts, a projector for images
    title: str = ""
    licence: str = "unknown"
    commercial: bool = False  # whether the licence allows commercial use
    licence_note: str = ""
    context: int = 0  # tokens it was trained to read
    languages: tuple[str, ...] = ()
    senses: tuple[Kind, ...] = ()  # what it takes beside text, with its projector
    # Bytes that serving takes beside the weights, about: vocabulary, cache, states, projector.
    least: int = 350 << 20  # for one conversation of 4,096 tokens
    beside: int | None = None  # for several at once, if that is more
    sampling: Sampling = Sampling()
    thinking: bool | None = None  # before it answers, where nobody says; None: as its template has it

    @property
    def references(self) -> tuple[Remote, ...]:
        """The sources, each with its file named."""
        found = []
        for source in self.sources:
            reference = parse(source)
            if not isinstance(reference, Remote):
                raise ConfigError(f"the catalog's {self.name}: {source!r} is no source.")
            if isinstance(reference, Repo | Package) and not reference.file and self.file:
                reference = msgspec.structs.replace(reference, file=self.file)
            found.append(reference)
        return tuple(found)

    @property
    def pins(self) -> dict[str, File]:
        """What is known about its files, by their last name: folders differ from source to source."""
        known = (File(self.file, self.size, self.sha256), *self.companions)
        return {PurePosixPath(file.path).name: file for file in known if file.sha256}

    @property
    def label(self) -> str | None:
        """What people call the mixture of its types, such as Q4_K_M, where its title or file says so."""
        found = re.search(r"\bI?Q\d[A-Z0-9_]*|\bB?F(?:16|32)\b", f"{self.title} {self.file}".upper())
        return found[0] if found else None

    @property
    def memory(self) -> int | None:
        """Bytes that serving one conversation takes, about, where its size is known."""
        return None if self.size is None else self.size + self.least

    @property
    def most_memory(self) -> int | None:
        """Bytes that it takes where there are enough, for several at once."""
        return None if self.size is None else self.size + (self.beside or self.least)

    @property
    def total(self) -> int | None:
        """Bytes of all its files, where they are known."""
        sizes = [self.size, *(file.size for file in self.companions)]
        return None if None in sizes else sum(size for size in sizes if size is not None)


class Catalog(Struct, frozen=True):
    """All entries. `fallback` is served where the default cannot be had: it comes as a package.

    `newcomers` are what one would rather take on a machine that is up to it (tune/advice.py), the best first.
    """

    default: str
    fallback: str
    model: tuple[Entry, ...]
    newcomers: tuple[str, ...] = ()

    @staticmethod
    def load(home: Path | None = None) -> "Catalog":
        """The catalog that comes with edgechat, and what catalog.toml in `home` adds. Raises ConfigError for that."""
        ours = _ours()
        own = _own(home / "catalog.toml") if home else ()
        for entry in own:
            if ours.find(entry.name) or not is_name(entry.name):
                raise ConfigError(f"{home}/catalog.toml: {entry.name!r} is taken, or is no name for a model.")
        return msgspec.structs.replace(ours, model=(*ours.model, *own))

    @classmethod
    def read(cls, text: str) -> Self:
        """A catalog from TOML; what is wrong with one is an error of whoever wrote it."""
        return msgspec.convert(tomllib.loads(text), cls)

    @property
    def names(self) -> list[str]:
        """Every name."""
        return [entry.name for entry in self.model]

    def find(self, name: str) -> Entry | None:
        """The entry called `name`, if there is one."""
        return next((entry for entry in self.model if entry.name == name), None)

    def get(self, name: str) -> Entry:
        """The entry called `name`; an unknown name lists the nearest."""
        entry = self.find(name)
        if entry is None:
            raise UnknownName("model", name, self.names)
        return entry

    def by_sha256(self, sha256: str | None) -> Entry | None:
        """The entry that is exactly these bytes."""
        return next((entry for entry in self.model if sha256 and entry.sha256 == sha256 and not entry.companions), None)

    def of(self, reference: Remote) -> Entry | None:
        """The entry that has exactly this source: its pins hold however the model was named."""
        return next((entry for entry in self.model if reference in entry.references), None)


class _Own(Struct, frozen=True):
    """A person's own catalog."""

    model: tuple[Entry, ...] = ()


@cache
def _ours() -> Catalog:
    return Catalog.read(files(__package__).joinpath("catalog.toml").read_text(encoding="utf-8"))


def _own(path: Path) -> tuple[Entry, ...]:
    try:
        own = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _Own)
        for entry in own.model:
            _ = entry.references
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path} is no catalog: {error}.") from None
    return own.model
