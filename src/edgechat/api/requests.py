"""What every dialect does with a request: find the runtime and the caller, notice that the client left."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Annotated, Any

import msgspec
from fastapi import Depends, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from edgechat.api.doors.access import Caller
from edgechat.errors import InvalidRequest
from edgechat.runs.keeper import Runs
from edgechat.runtime import Runtime, Served
from edgechat.types import GenRequest

CLIENT_CLOSED = 499  # nobody reads it; the name that nginx gave it


# What routes depend on is looked up on the loop: FastAPI would send a plain function through a thread, every time.


async def runtime_of(request: Request) -> Runtime:
    """The runtime that the app was made with."""
    runtime: Runtime = request.app.state.runtime
    return runtime


TheRuntime = Annotated[Runtime, Depends(runtime_of)]


def caller_of(request: Request) -> Caller:
    """Who sends the request, as access.py found out."""
    caller: Caller = request.state.caller
    return caller


async def runs_of(request: Request) -> Runs:
    """The runs that the app was made with."""
    runs: Runs = request.app.state.runs
    return runs


async def owner_of(request: Request) -> str:
    """Whose conversations it may meet."""
    return realm_of(request)


def client_of(request: Request) -> str:
    """Whose turn it is: the key's, or the address's where no keys are asked for."""
    return caller_of(request).client


def realm_of(request: Request) -> str:
    """Whose texts it may meet: the key's, or everybody's where no keys are asked for."""
    return caller_of(request).realm


def within(wanted: GenRequest, request: Request) -> GenRequest:
    """`wanted` in the caller's realm: what is kept of it nobody else meets, and the key's limits hold."""
    return msgspec.structs.replace(wanted, realm=realm_of(request))


def background_of(request: Request) -> bool:
    """Whether the request may wait behind those that somebody waits for. Raises InvalidRequest."""
    priority = request.headers.get("x-edgechat-priority", "interactive")
    if priority not in ("interactive", "background"):
        raise InvalidRequest("X-Edgechat-Priority is interactive or background.", "X-Edgechat-Priority")
    return priority == "background"


def addressed(wanted: GenRequest, request: Request, model: str | None, user: str | None = None) -> GenRequest:
    """`wanted` with who is asked and who asks. `user` is the client's own name for one of its people."""
    return msgspec.structs.replace(
        wanted,
        model=model or "",
        client=f"{client_of(request)}/{user or ''}",
        background=background_of(request),
    )


def check_vocabulary(served: Served, tokens: Iterable[int], param: str) -> None:
    """Raise InvalidRequest, naming `param`, unless the model has all of `tokens`."""
    last = served.info.vocabulary - 1
    for token in tokens:
        if not 0 <= token <= last:
            raise InvalidRequest(f"{param} names token {token}; the model's go from 0 to {last}.", param)


async def until_gone(request: Request, work: Coroutine[Any, Any, dict[str, Any]]) -> Response:
    """Await `work` and answer with it; cancel it as soon as the client leaves."""
    job = asyncio.create_task(work)
    gone = asyncio.create_task(_left(request))
    try:
        await asyncio.wait({job, gone}, return_when=asyncio.FIRST_COMPLETED)
        return JSONResponse(job.result()) if job.done() else Response(status_code=CLIENT_CLOSED)
    finally:
        gone.cancel()
        job.cancel()
        await asyncio.wait({job, gone})


async def _left(request: Request) -> None:
    try:
        while (await request.receive())["type"] != "http.disconnect":
            pass
    except ClientDisconnect:
        return
