"""Ollama's model management: which models are here, what they are, getting another one, letting one go.

Typed clients (Go, Rust) read a whole list as nothing where one member is missing: every one of Ollama's reference is
there, and what nobody knows here is an empty text, never absent.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable
from datetime import UTC, datetime
from math import inf
from typing import Any, ClassVar

import msgspec
from fastapi import Request
from fastapi.responses import JSONResponse, Response
from pydantic import StrictBool

from edgechat import __version__
from edgechat.api.downloads import Downloads
from edgechat.api.errors import Problem
from edgechat.api.examples import SERVED, Example
from edgechat.api.ignored import beginning, ignored_by
from edgechat.api.ollama.errors import OLLAMA, error_object
from edgechat.api.ollama.wire import Named
from edgechat.api.requests import TheCaller, TheRuntime
from edgechat.api.routes import ANY, Facts, Need, Router
from edgechat.api.streaming import Streamed
from edgechat.errors import HubError, ModelNotFound
from edgechat.hub import versions
from edgechat.hub.transfer import Fetching
from edgechat.runtime import Runtime
from edgechat.types import Sampling, Served

SPOKEN = "0.12.0"  # the release of Ollama whose API this is; clients ask for it
FOR_EVER = datetime(2318, 1, 1, tzinfo=UTC)  # as Ollama writes it
LOOK_S = 0.2  # seconds between two looks at a download
LINES = "application/x-ndjson"

LISTED = Example(None, lambda: {"models": [model_object(SERVED)]})

router = Router("/api", OLLAMA)


class ShowRequest(Named):
    """Body of POST /api/show."""

    inert: ClassVar = ("verbose",)


class PullRequest(Named):
    """Body of POST /api/pull: a model of the catalog."""

    neutral: ClassVar = {"insecure": (False,)}

    stream: StrictBool | None = None


class DeleteRequest(Named):
    """Body of DELETE /api/delete."""


@router.get("/version", Facts(Need.KEY), "The release of Ollama's API that is spoken here")
async def version() -> dict[str, str]:
    return {"version": SPOKEN, "edgechat": __version__}


@router.get("/tags", Facts(Need.KEY, example=LISTED), "The models that answer here, in Ollama's shape")
async def tags(runtime: TheRuntime, caller: TheCaller) -> dict[str, Any]:
    return {"models": [model_object(served) for served in runtime.models(caller)]}


@router.get("/ps", Facts(Need.KEY), "The models that are loaded, in Ollama's shape")
async def ps(runtime: TheRuntime, caller: TheCaller) -> dict[str, Any]:
    loaded = [served for served in runtime.models(caller) if served.loaded]
    return {"models": [running_object(served, _leaves(runtime, served.name)) for served in loaded]}


@router.post("/show", Facts(Need.KEY, kinds=ANY), "One model, in Ollama's shape")
async def show(body: ShowRequest, request: Request, runtime: TheRuntime, caller: TheCaller) -> dict[str, Any]:
    served = runtime.find(body.name, caller).served
    ignored = ignored_by(body, request, served.info)
    stored = runtime.library.find(served.name)
    return {
        "license": (stored.licence if stored else None) or "",
        "modelfile": f"FROM {served.name}\n",
        "parameters": parameters(served.sampling),
        "template": "",  # Ollama's are Go's; a model's own is none
        "details": details(served),
        "model_info": model_info(served),
        "capabilities": capabilities(served),
        "modified_at": moment(served.since),
        **beginning(ignored),
    }


@router.post("/pull", Facts(Need.OPERATOR, kinds=ANY), "Get a model of the catalog, in Ollama's shape")
async def pull(body: PullRequest, request: Request, runtime: TheRuntime) -> Response:
    name = body.name
    if runtime.catalog.find(name) is None:
        raise ModelNotFound(f"the catalog has no {name!r}; get others with `edgechat pull`.", "model")
    downloads: Downloads = request.app.state.downloads
    ignored = ignored_by(body, request)
    if body.stream is not False:
        begin = {"status": "pulling manifest", **beginning(ignored)}
        return Streamed(pulled(downloads, name), _line, [*_line(begin)], media_type=LINES)
    *_, last = [told async for told in pulled(downloads, name)]
    if "error" in last:
        raise HubError(last["error"])
    return JSONResponse({**last, **beginning(ignored)})


@router.delete("/delete", Facts(Need.OPERATOR, kinds=ANY), "Remove a model from this disk, in Ollama's shape")
async def delete(body: DeleteRequest, request: Request, runtime: TheRuntime) -> dict[str, Any]:
    ignored = ignored_by(body, request)
    if body.name not in runtime.store.names():
        raise runtime.library.missing(body.name, runtime.store.names())
    await asyncio.to_thread(versions.remove, runtime.store, body.name)
    return {"status": "success", **beginning(ignored)}


async def pulled(downloads: Downloads, name: str) -> AsyncGenerator[dict[str, Any], None]:
    """How a download goes on, to its end, in Ollama's words. It goes on where nobody looks any more."""
    downloads.begin(name)
    before: Fetching | None = None
    while name in downloads.names:
        step = downloads.steps.get(name)
        if step is not None and step != before:
            yield {"status": f"pulling {name}", "digest": name, "total": step.total, "completed": step.done}
        before = step
        await asyncio.sleep(LOOK_S)
    if why := downloads.failures.get(name):
        yield error_object(Problem.of(HubError(why)))
    else:
        yield {"status": "success"}


def _line(value: dict[str, Any]) -> Iterable[bytes]:
    yield msgspec.json.encode(value) + b"\n"


def model_object(served: Served) -> dict[str, Any]:
    """Ollama's model object. `size` is in bytes."""
    return {
        "name": served.name,
        "model": served.name,
        "modified_at": moment(served.since),
        "size": served.size,
        "digest": served.sha256,
        "details": details(served),
    }


def running_object(served: Served, leaves: datetime) -> dict[str, Any]:
    """The same of a model in memory, which `leaves` then: `size` is what it takes there. None of it is on a GPU."""
    return {
        **model_object(served),
        "size": served.info.memory,
        "expires_at": leaves.isoformat(),
        "size_vram": 0,
        "context_length": served.info.context,
    }


def _leaves(runtime: Runtime, name: str) -> datetime:
    """When the model called `name` goes if nobody asks it until then."""
    stored = runtime.library.find(name)
    resident = runtime.keeper.resident(stored.name) if stored else None
    if resident is None or resident.keep == inf:
        return FOR_EVER
    last = max(resident.used, asyncio.get_running_loop().time() if resident.busy else 0)
    left = last + resident.keep - asyncio.get_running_loop().time()
    return datetime.fromtimestamp(min(time.time() + left, FOR_EVER.timestamp()), UTC)


def details(served: Served) -> dict[str, Any]:
    """What kind of model it is."""
    family = served.info.family
    return {
        "parent_model": "",
        "format": "gguf",
        "family": family,
        "families": [family],
        "parameter_size": counted(served.info.parameters),
        "quantization_level": served.recipe,
    }


def counted(parameters: int) -> str:
    """A number of parameters as Ollama writes it: 494.03M, 7.6B."""
    return f"{parameters / 1e9:.1f}B" if parameters >= 1e9 else f"{parameters / 1e6:.2f}M"


def model_info(served: Served) -> dict[str, Any]:
    """What its file says of it, under the file's own names."""
    info = served.info
    vectors = {f"{info.family}.embedding_length": info.dimensions} if info.dimensions else {}
    return {
        "general.architecture": info.family,
        "general.basename": served.name,
        "general.parameter_count": info.parameters,
        f"{info.family}.context_length": info.context,
        **vectors,
    }


def capabilities(served: Served) -> list[str]:
    """What can be asked of it."""
    if served.info.dimensions:
        return ["embedding"]
    seen = ["vision"] if "picture" in served.info.senses else []
    return ["completion", "tools", *(["thinking"] if served.info.thinks else []), *seen]


def parameters(sampling: Sampling) -> str:
    """How its answers are drawn where a request leaves it open, a line each."""
    names = {"repeat_penalty": sampling.repetition_penalty}
    names |= {name: getattr(sampling, name) for name in ("temperature", "top_p", "top_k", "min_p")}
    return "\n".join(f"{name} {value}" for name, value in names.items())


def moment(seconds: float) -> str:
    """Unix time as RFC 3339."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()
