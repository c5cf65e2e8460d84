"""Runs: a turn is stored and answered by the server, whoever reads along (the page's own API)."""

from collections.abc import Iterable
from functools import partial
from typing import Annotated, Any, Self

import msgspec
from fastapi import Depends, Header
from fastapi.responses import Response
from pydantic import Field, StrictBool, StringConstraints, model_validator

from edgechat.api import sse
from edgechat.api.fields import Draw, Many, MaxTokens, Room, Stops, Strict
from edgechat.api.reply import comments_of
from edgechat.api.requests import TheCaller, owner_of, runs_of
from edgechat.api.routes import Asks, Facts, Need, Router
from edgechat.api.streaming import Streamed
from edgechat.errors import InvalidRequest
from edgechat.history.records import Settings, Turn
from edgechat.i18n import t
from edgechat.runs import log
from edgechat.runs.keeper import Runs

KEEP_ALIVE_S = 5.0
WORDS = {"messages": "attachments"}

router = Router("/api/runs")
TheRuns = Annotated[Runs, Depends(runs_of)]
Owner = Annotated[str, Depends(owner_of)]
Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


class Params(Draw):
    """How to answer. What is left out is the model's own; `system` stands before the conversation.

    `context` bounds what of the conversation is read, and the answer with it, below what the model has here.
    """

    system: Annotated[str, Field(max_length=1 << 20)] | None = None
    max_tokens: MaxTokens | None = None
    context: Room | None = None
    stop: Stops | None = None
    thinking: StrictBool | None = None


class OwnSettings(Params):
    """A conversation's own: what a run of it gets that says nothing else."""

    model: Annotated[str, Field(max_length=1000)] | None = None

    def kept(self) -> Settings:
        """As the store has them."""
        return msgspec.convert(self.model_dump(exclude_none=True), Settings)


class RunRequest(Strict):
    """Body of POST /api/runs.

    With `content`: a new message behind `parent_id` (an answer of this conversation); null is the beginning, so that an
    edited message hangs where the first version hangs; left out, behind the newest answer. Without `content`: the
    message `parent_id` is answered again, or the answer `continues`, which ended before its end, is gone on with: same
    message, no question. `attachments` are uploaded before, and named by their SHA-256; a message that
    has some may have no words. `settings` are those that a new conversation has of its own.
    """

    conversation_id: str | None = None
    parent_id: str | None = None
    content: Annotated[str, Field(max_length=1 << 20)] | None = None
    attachments: Annotated[Many[Sha256], Field(max_length=16)] = Field(default_factory=list)
    model: str | None = None
    params: Params = Params()
    settings: OwnSettings | None = None
    continues: str | None = None

    @model_validator(mode="after")
    def _something_is_said(self) -> Self:
        if self.content == "" and not self.attachments:
            raise ValueError("content is empty, and there are no attachments")
        if self.content is None and self.attachments:
            raise ValueError("attachments belong to a new message, which has content")
        if self.continues and (self.content is not None or self.parent_id or self.conversation_id is None):
            raise ValueError("continues goes on with an answer of conversation_id: without content and parent_id")
        if self.settings and self.conversation_id is not None:
            raise ValueError("settings come with a new conversation; change them by PATCH /api/conversations/{id}")
        return self

    def turn(self) -> Turn:
        """The turn as the store knows it."""
        return Turn(
            conversation_id=self.conversation_id,
            parent_id=self.parent_id,
            after_latest="parent_id" not in self.model_fields_set and self.conversation_id is not None,
            content=self.content,
            model=self.model or None,
            params=self.params.model_dump(exclude_none=True),
            attachments=tuple(self.attachments) if self.attachments else msgspec.UNSET,
            settings=self.settings.kept() if self.settings else msgspec.UNSET,
            continues=self.continues or msgspec.UNSET,
        )


@router.post("", Facts(Need.KEY, Asks.LATER, words=WORDS), "Store a message and let it be answered", status_code=201)
async def begin(
    body: RunRequest,
    runs: TheRuns,
    caller: TheCaller,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=256)] = None,
) -> dict[str, Any]:
    started = await runs.begin(caller, body.turn(), idempotency_key)
    return msgspec.structs.asdict(started)


@router.get("/{id}/events", Facts(Need.KEY), "What happens in a run, from its beginning or after Last-Event-ID")
async def events(
    id: str, runs: TheRuns, owner: Owner, last_event_id: Annotated[str | None, Header()] = None
) -> Response:
    told = await runs.events(owner, id, _number(last_event_id))
    begin = sse.comment("here it comes")  # headers and a first byte at once
    return Streamed(told, _framed, [begin], pause=partial(comments_of, None), every=KEEP_ALIVE_S)


@router.delete("/{id}", Facts(Need.KEY), "Stop a run; what it has is kept", status_code=204)
async def stop(id: str, runs: TheRuns, owner: Owner) -> None:
    await runs.stop(owner, id)


def _number(last_event_id: str | None) -> int:
    if not last_event_id:
        return 0
    if not (last_event_id.isascii() and last_event_id.isdecimal() and len(last_event_id) < 10):
        raise InvalidRequest("Last-Event-ID is not one that this server gave.", "Last-Event-ID")
    return int(last_event_id)


def _framed(numbered: tuple[int, log.Event]) -> Iterable[bytes]:
    number, event = numbered
    if isinstance(event, log.Error | log.Unsaved):
        event = msgspec.structs.replace(event, message=t(event.message))
    yield sse.event(log.name(event), log.payload(event), number)
