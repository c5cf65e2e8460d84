"""A model's status: what is on this disk, in memory or on its way, as the page and the dashboard show it."""

from typing import Literal

from edgechat.hub.stored import Stored
from edgechat.models.library import Library
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
    commercial: bool | None = None  # whether its licence allows commercial use
    languages: tuple[str, ...] = ()
    progress: float | None = None  # 0 to 1
    received: int | None = None
    rate: float | None = None
    left: float | None = None
    why: str | None = None  # the last download ended without the model
    speed: float | None = None  # tokens per second to expect, of the one that a newcomer would rather take here
    awaited: bool = False  # the server itself is getting it, to serve it
    senses: tuple[Kind, ...] = ()  # what it takes beside text
    patch: int = 0  # as of its ModelInfo
    removable: bool = False  # it lies in the store, and the server does not need it to be ready


def here(runtime: Runtime, served: Served) -> Row:
    """A model on disk, as it is now."""
    library, resident = runtime.library, runtime.keeper.resident(served.name)
    stored = library.find(served.name)
    entry = runtime.catalog.find(stored.name if stored else served.name)
    loading = resident is not None and not resident.ready
    state: Literal["loaded", "loading", "installed"] = "loading" if loading else "installed"
    return Row(
        name=served.name,
        state="loaded" if served.loaded and not loading else state,
        size=stored.size if stored else None,
        ram=served.info.memory,
        quantisation=served.recipe,
        licence=(stored.licence if stored else None) or (entry.licence if entry else None),
        commercial=entry.commercial if entry else None,
        languages=entry.languages if entry else (),
        progress=resident.loading.fraction if resident is not None and loading else None,
        senses=served.info.senses,
        patch=served.info.patch,
        removable=_is_removable(library, stored, served.name),
    )


def _is_removable(library: Library, stored: Stored | None, name: str) -> bool:
    """Whether it lies in the store under this `name`, and is not what the server answers with by default."""
    if stored is None or stored.pulled is None or stored.name != name:
        return False
    return library.default is None or library.default.name != name
