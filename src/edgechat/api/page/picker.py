"""Models for the page: what is here, what could be, and downloads that go on when the page is closed."""

import asyncio
from contextlib import aclosing, suppress
from typing import Any, Literal

import msgspec
import structlog
from fastapi import Request

from edgechat.api.requests import TheCaller, TheRuntime
from edgechat.api.routes import Facts, Need, Router
from edgechat.errors import EdgechatError, ModelNotFound
from edgechat.hub.catalog import Entry
from edgechat.hub.pull import Fetching, pull
from edgechat.runtime import Runtime
from edgechat.types import Model, Served, Struct

router = Router("/api/models")
log = structlog.get_logger("models")


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
    awaited: bool = False  # the server itself is getting it, to serve it


class Downloads:
    """The downloads that the page began. Every method belongs to the server's loop."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.steps: dict[str, Fetching] = {}
        self.failures: dict[str, str] = {}

    def begin(self, name: str) -> None:
        """Download `name`, unless that is under way."""
        if name not in self._tasks:
            self.failures.pop(name, None)
            self._tasks[name] = asyncio.create_task(self._fetch(name))

    async def cancel(self, name: str) -> None:
        """Stop; what is there is kept, and the next download goes on from it."""
        if task := self._tasks.get(name):
            task.cancel()
            await asyncio.wait({task})

    async def close(self) -> None:
        """Stop all."""
        for name in list(self._tasks):
            await self.cancel(name)

    @property
    def names(self) -> set[str]:
        """What is being downloaded now."""
        return set(self._tasks)

    async def _fetch(self, name: str) -> None:
        try:
            async with aclosing(pull(name, self._runtime.settings, self._runtime.store)) as steps:
                async for step in steps:
                    if isinstance(step, Fetching):
                        self.steps[name] = step
            await self._runtime.library.learn()
        except EdgechatError as error:
            log.warning("a download failed", model=name, why=str(error))
            self.failures[name] = str(error)
        finally:
            del self._tasks[name]
            self.steps.pop(name, None)


@router.get("", Facts(Need.KEY), "The models that are here and those of the catalog, with what they do now")
async def models(request: Request, runtime: TheRuntime, caller: TheCaller) -> dict[str, Any]:
    downloads: Downloads = request.app.state.downloads
    installed = [here(runtime, served) for served in runtime.models(caller)]
    names = set(runtime.library.names())
    others = [_absent(entry, downloads, runtime) for entry in runtime.catalog.model if entry.name not in names]
    return {"models": msgspec.to_builtins([*installed, *others])}


@router.post("/{name:path}/load", Facts(Need.KEY), "Bring a model into memory before it is asked", status_code=202)
async def load(name: str, runtime: TheRuntime, caller: TheCaller) -> dict[str, str]:
    task = asyncio.create_task(_load(runtime.find(name, caller)))
    _loads.add(task)
    task.add_done_callback(_loads.discard)
    return {"name": name}


@router.post(
    "/{name:path}/unload", Facts(Need.OPERATOR), "Take a model out of memory after its running answers", status_code=202
)
async def unload(name: str, runtime: TheRuntime, caller: TheCaller) -> dict[str, str]:
    runtime.find(name, caller).keep(0)
    return {"name": name}


@router.post("/{name:path}/download", Facts(Need.OPERATOR), "Get a model of the catalog", status_code=202)
async def download(name: str, request: Request, runtime: TheRuntime) -> dict[str, str]:
    if runtime.catalog.find(name) is None:
        raise ModelNotFound(f"the catalog has no {name!r}; get others with `edgechat pull`.", "name")
    request.app.state.downloads.begin(name)
    return {"name": name}


@router.delete("/{name:path}/download", Facts(Need.OPERATOR), "Stop a download; what is there is kept", status_code=204)
async def cancel(name: str, request: Request) -> None:
    await request.app.state.downloads.cancel(name)


_loads: set[asyncio.Task[None]] = set()  # or they would be collected in the middle


async def _load(model: Model) -> None:
    with suppress(EdgechatError):  # whoever asks the model next is told
        await model.load()


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
    )


def _size(runtime: Runtime, name: str) -> int | None:
    stored = runtime.library.find(name)
    return stored.size if stored else None


def _absent(entry: Entry, downloads: Downloads, runtime: Runtime) -> Row:
    now = runtime.readiness
    if now.state == "downloading" and now.model == entry.name and (own := now.download):
        return Row(
            name=entry.name,
            state="downloading",
            size=entry.total or own.size,
            licence=entry.licence,
            progress=now.progress,
            received=own.received,
            rate=own.rate,
            left=own.left,
            awaited=True,
        )
    step = downloads.steps.get(entry.name)
    return Row(
        name=entry.name,
        state="downloading" if entry.name in downloads.names else "available",
        size=entry.total or (step.total if step else None),
        licence=entry.licence,
        progress=step.fraction if step else None,
        received=step.done if step else None,
        rate=step.rate if step else None,
        left=step.left_s if step else None,
        why=downloads.failures.get(entry.name),
    )
