"""A model's status: what is on this disk, in memory or on its way, as the page and the dashboard show it."""

from typing import Literal

from edgechat.runtime import Runtime
from edgechat.types import Kind, Served, Struct


class Row(Struct, frozen=True):
    """One model as the page shows it. Sizes are bytes, times seconds; None is what nobody knows."""

    name: str
    state: Literal["loaded", "loading", "installed", "downloading", "available"]
    size: int | None = None
    ram: int | None = None  # it takes when it is served
    quantisation: str | None = None
    licence: str | None = None
    progress: float | None = None  # 0 to 1
    received: int | None = None
    rate: float | None = None
    left: float | None = None
    why: str | None = None  # the last download ended without the model
    speed: float | None = None  # tokens per second to expect, of the one that a newcomer would rather take here
    awaited: bool = False  # the server itself is getting it, to serve it
    senses: tuple[Kind, ...] = ()  # what it takes beside text
    patch: int = 0  # as of its ModelInfo


def here(runtime: Runtime, served: Served) -> Row:
    """A model on disk, as it is now."""
    resident = runtime.keeper.resident(served.name)
    loading = resident is not None and not resident.ready
    state: Literal["loaded", "loading", "installed"] = "loading" if loading else "installed"
    return Row(
        name=served.name,
        state="loaded" if served.loaded and not loading else state,
        size=_size(runtime, served.name),
        ram=served.info.memory,
        quantisation=served.recipe,
        progress=resident.loading.fraction if resident is not None and loading else None,
        senses=served.info.senses,
        patch=served.info.patch,
    )


def _size(runtime: Runtime, name: str) -> int | None:
    stored = runtime.library.find(name)
    return stored.size if stored else None
