"""The nouns of the store: what a conversation, its messages and a turn are made of. Times are Unix milliseconds."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from edgechat.types import Attachment, FinishReason, Role, Struct

Status = Literal["running", "complete", "stopped", "interrupted", "error"]
TITLE_CHARS = 60


class Failure(Struct, frozen=True):
    """Why an answer ended before its end. `code` is one of errors.py."""

    code: str
    message: str
    retryable: bool = False
    retry_after_s: float | None = None


class Held(Attachment, frozen=True, omit_defaults=True):
    """What a message holds, by the name of the file that it was."""

    name: str = ""


class Node(Struct, frozen=True):
    """One message. Those with the same parent are branches: edits of a question, or answers to it.

    `seq` counts the messages of a conversation in the order in which they were acknowledged. A `running` answer has
    the text of its last checkpoint; `run_id` tells where the rest comes from.
    """

    id: str
    seq: int
    parent_id: str | None
    role: Role
    content: str
    status: Status
    created: int
    reasoning: str = ""
    model: str | None = None
    finish_reason: FinishReason | Literal["stopped", "loop"] | None = None
    usage: dict[str, Any] | None = None
    params: dict[str, Any] | None = None
    error: Failure | None = None
    run_id: str | None = None
    attachments: tuple[Held, ...] = ()  # before the text


class Piece(Struct, frozen=True):
    """Part of an excerpt; `hit` is what was searched for."""

    t: str
    hit: bool = False


class Head(Struct, frozen=True):
    """A conversation as lists show it. `snippet` is there where a search found it."""

    id: str
    title: str
    version: int
    pinned: bool
    created: int
    updated: int
    deleted: int | None = None
    snippet: tuple[Piece, ...] | None = None


class Settings(Struct, frozen=True, omit_defaults=True):
    """What a conversation's answers are made with where a turn does not say. The bounds are those of a run's params.

    They come in with files, too, so they are checked here.
    """

    model: Annotated[str, Meta(max_length=1000)] | None = None
    system: Annotated[str, Meta(max_length=1 << 20)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0, lt=1 << 20)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    seed: Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1, lt=1 << 31)] | None = None
    context: Annotated[int, Meta(ge=256, lt=1 << 31)] | None = None
    stop: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...], Meta(max_length=32)] | None = None
    thinking: bool | None = None

    def params(self) -> dict[str, Any]:
        """As a run has them."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return {name: value for name, value in found.items() if name != "model"}


class Conversation(Head, frozen=True):
    """A conversation with its whole tree, in sequence."""

    messages: tuple[Node, ...] = ()
    settings: Settings | None = None


class Heads(Struct, frozen=True):
    """One part of a list; `next` is the cursor of the following one."""

    conversations: tuple[Head, ...]
    next: str | None = None


class Removed(Struct, frozen=True):
    """A deleted message that can be brought back, with what followed it. `title` is its conversation's."""

    id: str
    conversation_id: str
    title: str
    snippet: tuple[Piece, ...]
    deleted: int


class Turn(Struct, frozen=True):
    """What somebody asks for. Without `content` the user message `parent_id` is answered again.

    `after_latest` puts the message behind the newest one, whatever that is by then; otherwise `parent_id` None makes
    it the first of a new branch.
    """

    conversation_id: str | None = None
    parent_id: str | None = None
    after_latest: bool = False
    content: str | None = None
    model: str | None = None
    params: dict[str, Any] = msgspec.field(default_factory=dict)
    # The message's, by their SHA-256. Unset, it is no part of what an Idempotency-Key stands for, as it never was.
    attachments: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    settings: Settings | msgspec.UnsetType = msgspec.UNSET  # of a new conversation
    continues: str | msgspec.UnsetType = msgspec.UNSET  # an answer that ended early: this goes on with it


class Started(Struct, frozen=True):
    """A turn that is stored. `message_id` is the question, `answer_id` the answer to come."""

    run_id: str
    conversation_id: str
    message_id: str
    answer_id: str


class Outcome(Struct, frozen=True):
    """How an answer ended."""

    status: Status
    content: str
    reasoning: str = ""
    model: str | None = None
    finish_reason: FinishReason | Literal["stopped", "loop"] | None = None
    usage: dict[str, Any] | None = None
    error: Failure | None = None
