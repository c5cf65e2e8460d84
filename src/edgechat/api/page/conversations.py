"""Conversations: list, search, read, rename, pin, delete and undo (the page's own API)."""

from asyncio import wrap_future
from concurrent.futures import Future
from typing import Annotated, Any

import msgspec
from fastapi import Query
from pydantic import Field, StrictBool, StrictInt

from edgechat.api.fields import Strict
from edgechat.api.page.runs import Owner, OwnSettings, TheRuns
from edgechat.api.routes import Facts, Need, Router
from edgechat.errors import InvalidRequest
from edgechat.history import conversations, removal

router = Router("/api/conversations")


class Change(Strict):
    """Body of PATCH. With `version`, only if the conversation is still that one; else 409 with the current one.

    `settings` replace those that it has of its own; null takes them away.
    """

    version: StrictInt | None = None
    title: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    pinned: StrictBool | None = None
    settings: OwnSettings | None = None


@router.get(
    "", Facts(Need.KEY), "Conversations, pinned ones first, then by last change; with q those that hold its words"
)
async def page(
    runs: TheRuns,
    owner: Owner,
    cursor: str | None = None,
    q: Annotated[str, Query(max_length=1000)] = "",
    deleted: bool = False,
    limit: Annotated[int, Query(ge=1, le=200)] = conversations.PAGE,
) -> dict[str, Any]:
    return await _told(runs.history.read(conversations.page, owner, cursor, q, deleted, limit))


@router.get("/deleted-messages", Facts(Need.KEY), "Single messages that were deleted, the newest deletion first")
async def deleted_messages(
    runs: TheRuns, owner: Owner, limit: Annotated[int, Query(ge=1, le=200)] = conversations.PAGE
) -> dict[str, Any]:
    return {"messages": msgspec.to_builtins(await wrap_future(runs.history.read(removal.page, owner, limit)))}


@router.get("/{id}", Facts(Need.KEY), "One conversation with its whole tree")
async def get(id: str, runs: TheRuns, owner: Owner) -> dict[str, Any]:
    return await _told(runs.history.read(conversations.get, owner, id))


@router.patch("/{id}", Facts(Need.KEY), "Rename, pin, or give it settings of its own")
async def change(id: str, body: Change, runs: TheRuns, owner: Owner) -> dict[str, Any]:
    changes = body.model_dump(exclude_none=True, include={"title", "pinned"})
    if "settings" in body.model_fields_set:
        changes["settings"] = body.settings.kept() if body.settings else None
    if not changes:
        raise InvalidRequest("nothing to change: give title, pinned or settings.", "title")
    return await _told(runs.history.write(conversations.change, owner, id, body.version, changes))


@router.delete("/{id}", Facts(Need.KEY), "Delete; restore takes it back, purge does not wait for that", status_code=204)
async def delete(id: str, runs: TheRuns, owner: Owner, purge: bool = False) -> None:
    await _delete(runs, owner, id, purge)


@router.delete("", Facts(Need.KEY), "Delete all conversations")
async def delete_all(runs: TheRuns, owner: Owner, purge: bool = False) -> dict[str, int]:
    return {"deleted": await _delete(runs, owner, None, purge)}


@router.post("/{id}/restore", Facts(Need.KEY), "Undo a deletion")
async def restore(id: str, runs: TheRuns, owner: Owner) -> dict[str, Any]:
    return await _told(runs.history.write(conversations.restore, owner, id))


@router.delete("/{id}/messages/{message_id}", Facts(Need.KEY), "Delete a message with what follows it")
async def delete_message(id: str, message_id: str, runs: TheRuns, owner: Owner) -> dict[str, Any]:
    return await _told(runs.history.free(removal.delete, owner, id, message_id))


@router.post("/{id}/messages/{message_id}/restore", Facts(Need.KEY), "Undo that")
async def restore_message(id: str, message_id: str, runs: TheRuns, owner: Owner) -> dict[str, Any]:
    return await _told(runs.history.write(removal.restore, owner, id, message_id))


async def _told(found: Future[Any]) -> dict[str, Any]:
    """What the store finds, as JSON has it."""
    told: dict[str, Any] = msgspec.to_builtins(await wrap_future(found))
    return told


async def _delete(runs: TheRuns, owner: str, id: str | None, purge: bool) -> int:
    if purge:
        return await runs.purge(owner, id)
    await runs.stop_conversation(owner, id)
    return await wrap_future(runs.history.free(conversations.delete, owner, id))
