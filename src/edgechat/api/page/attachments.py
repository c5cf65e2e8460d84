"""Attachments: what a message will hold besides text is uploaded first, and named by its hash (the page's own API).

    PUT the bytes ──► on the disk for good, a row, COMMIT ──► 200 {sha256, kind, …} ──► POST /api/runs {attachments}

What bytes are is found out from the bytes. They come back only as what they are, and can do nothing where they are
looked at: a stranger may have made them.
"""

import asyncio
from asyncio import wrap_future
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.responses import Response
from starlette.requests import ClientDisconnect

from edgechat.api.examples import Example
from edgechat.api.page.runs import Owner, TheRuns
from edgechat.api.requests import CLIENT_CLOSED, TheCaller, TheRuntime
from edgechat.api.routes import Facts, Need, Router
from edgechat.errors import EdgechatError
from edgechat.history import attachments, files, held
from edgechat.history.files import Incoming
from edgechat.history.store import History
from edgechat.media.sniff import MEDIA_TYPES
from edgechat.prompt.sight import forecast, usual
from edgechat.runtime import Runtime
from edgechat.types import Caller

MOST = 32 << 20  # bytes of one
BYTES = "application/octet-stream"
SUFFIXES = {"image/jpeg": "jpg", "audio/mpeg": "mp3"}  # where a file is not called like its type
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",  # what is destroyed is nowhere
}
EXAMPLE = Example(
    None,
    lambda: {
        "sha256": "92aee1b1" * 8,
        "kind": "picture",
        "width": None,
        "height": None,
        "seconds": None,
        "tokens": None,
    },
)

router = Router("/api/attachments")


@router.put(
    "",
    Facts(Need.KEY, max_body=MOST, kinds=frozenset({BYTES, *MEDIA_TYPES}), example=EXAMPLE),
    "Upload what a message will hold; `tokens` is about what it takes of `model`, and null what is not known, as here",
    openapi_extra={
        "requestBody": {"required": True, "content": {BYTES: {"schema": {"type": "string", "format": "binary"}}}}
    },
)
async def put(
    request: Request,
    runs: TheRuns,
    owner: Owner,
    runtime: TheRuntime,
    caller: TheCaller,
    name: Annotated[str, Query(max_length=1024)] = "",
    model: Annotated[str, Query(max_length=1024)] = "",
) -> Any:
    history = runs.history
    try:
        incoming = await _received(request.stream(), history, name)
    except ClientDisconnect:
        return Response(status_code=CLIENT_CLOSED)
    most = runtime.settings.attachment_bytes
    kept = await asyncio.shield(asyncio.to_thread(held.keep, history, owner, incoming, most))
    found = kept.attachment
    size = await asyncio.to_thread(files.dimensions, history.attachments, kept)
    width, height = size or (None, None)
    tokens = _forecast(size, runtime, caller, model)
    told = {"width": width, "height": height, "seconds": None, "tokens": tokens}
    return {"sha256": found.sha256, "kind": found.kind, **told}


def _forecast(size: tuple[int, int] | None, runtime: Runtime, caller: Caller, model: str) -> int | None:
    """How many tokens a picture of that size takes of a model; None where that is not known, or does not see."""
    with suppress(EdgechatError):
        patch = runtime.find(model, caller).served.info.patch
        return forecast(*size, patch, usual(*size, patch)) if size and patch else None
    return None


async def _received(stream: AsyncIterator[bytes], history: History, name: str) -> Incoming:
    """The body, on the disk for good. Raises what keeps it from there."""
    upload = await asyncio.to_thread(files.Upload, history.attachments)
    try:
        async for piece in stream:
            await asyncio.to_thread(upload.add, piece)
        return await asyncio.to_thread(upload.finish, name)
    except BaseException:
        await asyncio.to_thread(upload.drop)
        raise


@router.get("/{sha256}", Facts(Need.KEY), "The bytes, for whoever uploaded them", response_class=Response)
async def get(sha256: str, runs: TheRuns, owner: Owner) -> Response:
    history = runs.history
    kept = await wrap_future(history.read(attachments.find, owner, sha256))
    content = await asyncio.to_thread(files.read, history.attachments, kept)
    kind, media_type = kept.attachment.kind, kept.attachment.media_type
    suffix = SUFFIXES.get(media_type, media_type.partition("/")[2])
    shown = "inline" if kind == "picture" else "attachment"
    disposition = {"Content-Disposition": f'{shown}; filename="{sha256[:12]}.{suffix}"'}
    return Response(content, media_type=media_type, headers=HEADERS | disposition)
