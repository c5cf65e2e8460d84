"""Dependencies of routes: the runtime and the caller of a request, and the notice that its client disconnected."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from edgechat.errors import InvalidRequest
from edgechat.runs.keeper import Runs
from edgechat.runtime import Runtime
from edgechat.types import Caller, Served

T = TypeVar("T")

CLIENT_CLOSED = 499  # nobody reads it; the name that nginx gave it


# What routes depend on is looked up on the loop: FastAPI would send a plain function through a thread, every time.


async def runtime_of(request: Request) -> Runtime:
    """The runtime that the app was made with."""
    runtime: Runtime = request.app.state.runtime
    return runtime


TheRuntime = Annotated[Runtime, Depends(runtime_of)]


async def caller_of(request: Request) -> Caller:
    """Who sends the request, as access.py found out."""
    caller: Caller = request.state.caller
    return caller


TheCaller = Annotated[Caller, Depends(caller_of)]


async def runs_of(request: Request) -> Runs:
    """The runs that the app was made with."""
    runs: Runs = request.app.state.runs
    return runs


async def owner_of(caller: TheCaller) -> str:
    """Whose conversations it may meet: the key's, or everybody's where no keys are asked for."""
    return caller.realm


def background_of(request: Request) -> bool:
    """Whether the request may wait behind those that somebody waits for. Raises InvalidRequest."""
    priority = request.headers.get("x-edgechat-priority", "interactive")
    if priority not in ("interactive", "background"):
        raise InvalidRequest("X-Edgechat-Priority is interactive or background.", "X-Edgechat-Priority")
    return priority == "background"


def check_vocabulary(served: Served, tokens: Iterable[int], param: str) -> None:
    """Raise InvalidRequest, naming `param`, unless the model has all of `tokens`."""
    last = served.info.vocabulary - 1
    for token in tokens:
        if not 0 <= token <= last:
            raise InvalidRequest(f"{param} names token {token}; the model's go from 0 to {last}.", param)


async def until_gone(request: Request, work: Coroutine[Any, Any, dict[str, Any]]) -> Response:
    """Await `work` and answer with it; cancel it as soon as the client leaves."""
    async with beside(request.receive, work) as (job, gone):
        await asyncio.wait({job, gone}, return_when=asyncio.FIRST_COMPLETED)
        return JSONResponse(job.result()) if job.done() else Response(status_code=CLIENT_CLOSED)


@asynccontextmanager
async def beside(
    receive: Receive, work: Coroutine[Any, Any, T]
) -> AsyncIterator[tuple[asyncio.Task[T], asyncio.Task[None]]]:
    """`work`, and the client's leave, each as a task that ends with this block."""
    job = asyncio.create_task(work)
    gone = asyncio.create_task(_left(receive))
    try:
        yield job, gone
    finally:
        gone.cancel()
        job.cancel()
        await asyncio.wait({job, gone})


async def _left(receive: Receive) -> None:
    with suppress(ClientDisconnect):
        while (await receive())["type"] != "http.disconnect":
            pass
