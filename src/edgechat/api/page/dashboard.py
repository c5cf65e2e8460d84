"""The dashboard, what the operator watches: figures once a second, answers, models, clients, errors, settings.

The terminal's `edgechat status` and `edgechat doctor --bundle` ask here too.
"""

import asyncio
from typing import Any, Literal

import structlog
from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from edgechat.api import sse
from edgechat.api.fields import Strict
from edgechat.api.requests import TheCaller, TheRuntime
from edgechat.api.routes import Facts, Need, Router
from edgechat.api.watch.board import Board
from edgechat.errors import NotFound
from edgechat.observe import logs
from edgechat.observe.bundle import gathered, masked, packed, remembered

log = structlog.get_logger("dashboard")

router = Router("/api/dash")


def board_of(request: Request) -> Board:
    """The board that the app was made with."""
    board: Board = request.app.state.board
    return board


@router.get("/events", Facts(Need.OPERATOR), "Figures of the server, once a second", response_class=StreamingResponse)
async def events(request: Request) -> Response:
    return StreamingResponse(board_of(request).events(), media_type=sse.MEDIA_TYPE, headers=sse.HEADERS)


@router.get(
    "/status", Facts(Need.OPERATOR), "The last figures, the answers under way, models, clients and errors, at once"
)
async def status(request: Request, caller: TheCaller) -> dict[str, Any]:
    return await board_of(request).status(caller)


@router.get("/settings", Facts(Need.OPERATOR), "The settings in force, without their secrets")
async def settings(runtime: TheRuntime) -> dict[str, Any]:
    return masked(runtime.settings)


@router.get(
    "/diagnostics",
    Facts(Need.OPERATOR),
    "What helps to find a fault, as a zip file without anybody's words",
    response_class=Response,
)
async def bundle(request: Request, runtime: TheRuntime, caller: TheCaller) -> Response:
    lines = list(logs.current().recent)
    parts = await asyncio.to_thread(gathered, runtime.settings, runtime.store.kept, remembered(lines))
    parts["status.json"] = await board_of(request).status(caller)
    parts["metrics.txt"] = request.app.state.metrics.text()
    file = await asyncio.to_thread(packed, parts)
    kept_as = {"Content-Disposition": 'attachment; filename="edgechat-diagnostics.zip"', "Cache-Control": "no-store"}
    return Response(file, media_type="application/zip", headers=kept_as)


class Wish(Strict):
    """Body of PUT /api/dash/state.

    `paused`: new answers are refused, those under way and those that wait go on; until `serving`, or a restart.
    `draining`: the end, as SIGTERM brings it about. Nothing takes it back.
    """

    state: Literal["serving", "paused", "draining"]


@router.put("/state", Facts(Need.OPERATOR), "Pause the server, let it go on, or end it", status_code=202)
async def change(body: Wish, request: Request, runtime: TheRuntime) -> dict[str, str]:
    log.warning("an operator wishes", state=body.state)
    if body.state == "draining":
        request.app.state.end()
    else:
        runtime.pause(body.state == "paused")
    return {"state": body.state}


@router.delete("/requests/{id}", Facts(Need.OPERATOR), "End an answer that is under way", status_code=204)
async def end(id: int, runtime: TheRuntime) -> Response:
    if not runtime.answers.stop(id):
        raise NotFound("this answer is over already.")
    return Response(status_code=204)
