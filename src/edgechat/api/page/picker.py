"""Model management for the page: what is here, what could be, and downloads that go on when the page is closed."""

import asyncio
from contextlib import suppress
from typing import Any

import msgspec
from fastapi import Request

from edgechat.api.downloads import Downloads
from edgechat.api.requests import TheCaller, TheRuntime
from edgechat.api.routes import Facts, Need, Router
from edgechat.api.watch.models import Row, here
from edgechat.errors import ConfigError, EdgechatError, InvalidRequest, ModelNotFound, UnknownName
from edgechat.hub import versions
from edgechat.hub.catalog import Entry
from edgechat.hub.reference import Local, Named, parse
from edgechat.i18n import t
from edgechat.runtime import Runtime
from edgechat.tune.advice import Advice, advice
from edgechat.types import Model

router = Router("/api/models")


@router.get("", Facts(Need.KEY), "The models that are here and those of the catalog, with what they do now")
async def models(request: Request, runtime: TheRuntime, caller: TheCaller) -> dict[str, Any]:
    downloads: Downloads = request.app.state.downloads
    installed = [here(runtime, served) for served in runtime.models(caller)]
    names = set(runtime.library.names())
    others = [_absent(entry, downloads, runtime) for entry in runtime.catalog.model if entry.name not in names]
    asked = dict.fromkeys([*downloads.names, *downloads.failures])
    elsewhere = [_on_its_way(name, downloads) for name in asked if runtime.catalog.find(name) is None]
    library = runtime.library
    found = await asyncio.to_thread(advice, library.settings, library.store, library.catalog)
    others.sort(key=lambda row: found is None or row.name != found.name)  # the one to take here first
    return {"models": msgspec.to_builtins([_advised(row, found) for row in (*installed, *elsewhere, *others)])}


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


@router.post(
    "/{name:path}/download",
    Facts(Need.OPERATOR),
    "Get a model of the catalog, or by a reference as `edgechat pull` takes it, but none of this machine's files",
    status_code=202,
)
async def download(name: str, request: Request, runtime: TheRuntime) -> dict[str, str]:
    try:
        reference = parse(name)
    except ConfigError as error:
        raise InvalidRequest(str(error), "name") from None
    if isinstance(reference, Local):
        raise InvalidRequest(f"{name!r} is a path: the server's own files are taken in by `edgechat pull`.", "name")
    if isinstance(reference, Named) and runtime.catalog.find(name) is None:
        raise ModelNotFound(str(UnknownName("model", name, runtime.catalog.names)), "name")
    request.app.state.downloads.begin(name)
    return {"name": name}


@router.delete("/{name:path}/download", Facts(Need.OPERATOR), "Stop a download; what is there is kept", status_code=204)
async def cancel(name: str, request: Request) -> None:
    await request.app.state.downloads.cancel(name)


@router.delete("/{name:path}", Facts(Need.OPERATOR), "Remove a model from this disk, but the default", status_code=204)
async def remove(name: str, runtime: TheRuntime, caller: TheCaller) -> None:
    model = runtime.find(name, caller)
    if not here(runtime, model.served).removable:
        raise InvalidRequest(f"{name} is what this server answers with, or lies outside its store.", "name")
    model.keep(0)  # its running answers are finished
    await asyncio.to_thread(versions.remove, runtime.store, name)


_loads: set[asyncio.Task[None]] = set()  # or they would be collected in the middle


async def _load(model: Model) -> None:
    with suppress(EdgechatError):  # whoever asks the model next is told
        await model.load()


def _advised(row: Row, found: Advice | None) -> Row:
    """`row`, with what to expect where it is the one to take here."""
    if found is None or row.name != found.name:
        return row
    ram = found.memory if row.state == "available" else row.ram
    return msgspec.structs.replace(row, ram=ram, speed=round(found.speed, 1))


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
    known = Row(
        name=entry.name,
        state="available",
        size=entry.total,
        ram=entry.memory,
        quantisation=entry.label,
        licence=entry.licence,
        commercial=entry.commercial,
        languages=entry.languages,
    )
    return _coming(known, downloads)


def _on_its_way(name: str, downloads: Downloads) -> Row:
    """A model that is in no catalog, as somebody named it."""
    return _coming(Row(name=name, state="available"), downloads)


def _coming(row: Row, downloads: Downloads) -> Row:
    """`row`, with how its download goes, or went."""
    if row.name not in downloads.names:
        return msgspec.structs.replace(row, why=t(downloads.failures.get(row.name, "")) or None)
    step = downloads.steps.get(row.name)
    return msgspec.structs.replace(
        row,
        state="downloading",
        size=row.size or (step.total if step else None),
        progress=step.fraction if step else None,
        received=step.done if step else None,
        rate=step.rate if step else None,
        left=step.left_s if step else None,
    )
