"""Export and import, what leaves the store and comes in as a whole; system prompts (the page's own API)."""

import asyncio
import re
from asyncio import wrap_future
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote

import msgspec
from fastapi import Body, Query
from fastapi.responses import Response, StreamingResponse
from pydantic import Field, StrictInt

from edgechat.api.fields import Strict
from edgechat.api.page.runs import Owner, TheRuns
from edgechat.api.requests import TheRuntime
from edgechat.api.routes import Facts, Need, Router
from edgechat.history import conversations, exchange, intake
from edgechat.history import presets as kept

PRESETS = "presets"

router = Router("/api")


Form = Annotated[Literal["json", "md"], Query(alias="format")]


class Preset(Strict):
    """A system prompt with a name."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    text: Annotated[str, Field(max_length=100_000)]


class Presets(Strict):
    """Body of PUT /api/presets: all of them, in place of version `version`."""

    version: Annotated[StrictInt, Field(ge=0, lt=1 << 53)]
    presets: Annotated[list[Preset], Field(max_length=500)]


@router.get(
    "/export",
    Facts(Need.KEY),
    "One conversation, or all, as a file",
    responses={200: {"content": {"text/markdown": {"schema": {"type": "string"}}}}},
)
async def export(runs: TheRuns, owner: Owner, form: Form = "json", conversation_id: str | None = None) -> Response:
    if form == "json":
        data = await asyncio.to_thread(exchange.as_json, runs.history, owner, conversation_id)
    else:
        data = iter([await wrap_future(runs.history.read(exchange.as_markdown, owner, conversation_id))])
    title = ""
    if conversation_id is not None:
        found = await wrap_future(runs.history.read(conversations.get, owner, conversation_id))
        title = "-".join(re.findall(r"\w+", found.title)) + "-"
    name = f"edgechat-{title}{datetime.now(UTC):%Y%m%d-%H%M%S}.{form}"
    kind = "application/json" if form == "json" else "text/markdown; charset=utf-8"
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}", "Cache-Control": "no-store"}
    return StreamingResponse(data, media_type=kind, headers=headers)


@router.post(
    "/import",
    Facts(Need.KEY, max_body=64 << 20, most_groups=4_000_000),
    "Take in what edgechat exported, all of it or nothing, or what other programs did, as far as it can be read",
)
async def take(document: Annotated[Any, Body()], runs: TheRuns, owner: Owner, runtime: TheRuntime) -> dict[str, Any]:
    most = runtime.settings.attachment_bytes
    taken = await asyncio.to_thread(intake.take_in, runs.history, owner, document, most)  # years of them take a while
    told: dict[str, Any] = msgspec.to_builtins(taken)
    return told


@router.get("/presets", Facts(Need.KEY), "System prompts to choose from")
async def presets(runs: TheRuns, owner: Owner) -> dict[str, Any]:
    return _presets(await wrap_future(runs.history.read(kept.get, owner, PRESETS, [])))


@router.put("/presets", Facts(Need.KEY), "Replace them; 409 where they were changed elsewhere")
async def put_presets(body: Presets, runs: TheRuns, owner: Owner) -> dict[str, Any]:
    plain = [preset.model_dump() for preset in body.presets]
    return _presets(await wrap_future(runs.history.write(kept.put, owner, PRESETS, body.version, plain)))


def _presets(document: kept.Document) -> dict[str, Any]:
    return {"version": document.version, "presets": document.body}
