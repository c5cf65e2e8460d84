"""The models that have a name: where they are, what their bytes hash to, what their licence allows. Read from TOML."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Self

import msgspec

from edgechat.errors import UnknownName
from edgechat.hub.reference import Package, Remote, Repo, parse
from edgechat.types import Sampling, Struct


class Entry(Struct, frozen=True):
    """One model. `file` is the file's own name, used by every source that does not name another."""

    name: str
    title: str
    sources: tuple[str, ...]  # references, tried in this order
    file: str
    size: int  # bytes
    sha256: str
    licence: str
    commercial: bool  # whether the licence allows commercial use
    licence_note: str
    context: int  # tokens it was trained to read
    languages: tuple[str, ...]
    sampling: Sampling = Sampling()

    @property
    def references(self) -> tuple[Remote, ...]:
        """The sources, each with its file named."""
        found = []
        for source in self.sources:
            reference = parse(source)
            assert isinstance(reference, Repo | Package)
            found.append(reference if reference.file else msgspec.structs.replace(reference, file=self.file))
        return tuple(found)


class Catalog(Struct, frozen=True):
    """All entries. `fallback` is served where the default cannot be had: it comes as a package."""

    default: str
    fallback: str
    model: tuple[Entry, ...]

    @staticmethod
    @cache
    def load() -> "Catalog":
        """The catalog that comes with edgechat."""
        return Catalog.read(files(__package__).joinpath("catalog.toml").read_text(encoding="utf-8"))

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

    def by_sha256(self, sha256: str) -> Entry | None:
        """The entry with exactly these bytes."""
        return next((entry for entry in self.model if entry.sha256 == sha256), None)

    def of(self, reference: Remote) -> Entry | None:
        """The entry that has exactly this source: its pins hold however the model was named."""
        return next((entry for entry in self.model if reference in entry.references), None)
