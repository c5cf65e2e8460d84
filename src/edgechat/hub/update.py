"""Newer versions of models: looked for, fetched beside the old, and taken only when they have answered.

    marker ─► source asked again ─► same digest? ─► UpToDate
                                        │ no
                                        └─► fetched, verified ─► Beside ─► a probe ─► store.promote, or store.reject

Whoever calls this has the engine, so the probe is theirs.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from edgechat.errors import Offline
from edgechat.hub import versions
from edgechat.hub.catalog import Catalog, Entry
from edgechat.hub.pull import AnyPullEvent, Published, PullEvent, first_that_works, origin
from edgechat.hub.reference import Local, Repo, parse
from edgechat.hub.store import Store, Stored
from edgechat.settings import Settings


class UpToDate(PullEvent, frozen=True):
    """Nothing is to be done about `model`; `why` in a few words."""

    model: Stored
    why: str


class Beside(PullEvent, frozen=True):
    """`candidate` lies beside `model`, whole, and waits for a probe."""

    model: Stored
    candidate: Stored


async def update(
    name: str, settings: Settings, store: Store, catalog: Catalog | None = None, asked: bool = True
) -> AsyncGenerator[AnyPullEvent | UpToDate | Beside, None]:
    """Fetch what the source of the model `name` has now. The last event is `UpToDate` or `Beside`.

    A version that was refused before is taken only where a person `asked`. Raises UnknownName, Offline, HubError,
    StorageError or ModelDamaged, one line each; what is here stays as it is.
    """
    marker, catalog = store.marker(name), catalog or Catalog.load(settings.home)
    model = store.current(name)
    why = "it is pinned" if marker.pinned else _why_never(name, marker.current.manifest.digest, store, catalog)
    if why is not None:
        yield UpToDate(model, why)
        return
    if settings.offline:
        raise Offline(f"the source of {name} cannot be asked: EDGECHAT_OFFLINE forbids it.")
    source = origin(name, store, catalog)
    entry, references = (source, source.references) if isinstance(source, Entry) else (None, (source,))
    refused = () if asked else marker.refused
    async with aclosing(first_that_works(references, entry, settings, store, catalog, model, refused)) as events:
        async for event in events:
            if not isinstance(event, Published):
                yield event
            elif event.model.sha256 == model.sha256:
                versions.note(store, name, None)
                yield UpToDate(model, "its source has nothing newer to take")
            else:
                yield Beside(model, event.model)


def _why_never(name: str, digest: str, store: Store, catalog: Catalog) -> str | None:
    """Why no source need be asked, or None."""
    entry = catalog.find(name)
    if entry is not None and digest == entry.sha256:
        return "it is the version that edgechat's catalog names"
    current = store.marker(name).current
    if current.manifest.made_from is not None:
        return "it was made here"
    if isinstance(parse(current.asked), Local):
        return "it was copied here"
    source = origin(name, store, catalog)
    return None if isinstance(source, Repo | Entry) else "its source never changes"
