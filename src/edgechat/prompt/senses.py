"""Which kinds of input a model takes (modalities): all take text; what else, each says of itself (ModelInfo.senses)."""

from collections.abc import Collection, Iterable, Iterator, Sequence

import msgspec

from edgechat.errors import UnsupportedMedia
from edgechat.types import Attachment, Kind, Message, ModelInfo

EYES: tuple[Kind, ...] = ("picture",)  # of a model that sees
MANY: dict[Kind, str] = {"picture": "pictures", "sound": "sound", "document": "documents"}


def with_eyes(info: ModelInfo, taken: int, patch: int) -> ModelInfo:
    """A model that sees, with a projector that takes so many bytes once the first picture comes."""
    memory, later = info.memory + taken, info.later + taken
    return msgspec.structs.replace(info, senses=EYES, patch=patch, memory=memory, later=later)


def refused(what: str, *kinds: Kind) -> str:
    """Why `what`, of one of `kinds` or of any, is not taken by any model; without a full stop."""
    many = " or ".join(MANY[kind] for kind in kinds or MANY)
    return f"{what} cannot be read: no model here takes {many}"


def foreign(messages: Iterable[Message], senses: Collection[Kind]) -> Iterator[Attachment]:
    """The parts of `messages` that a model with these `senses` does not take."""
    return (part for message in messages for part in message.attachments if part.kind not in senses)


def unsupported(part: Attachment, others: Sequence[str] = ()) -> UnsupportedMedia:
    """The refusal of `part` by a model that does not take its kind; `others` do."""
    what = f"an {part.media_type}"
    if not others:
        return UnsupportedMedia(f"{refused(what, part.kind)}.", "messages")
    here = f"ask one that takes {MANY[part.kind]}: {', '.join(others)}"
    return UnsupportedMedia(f"{what} cannot be read by this model; {here}.", "messages")


def check(messages: Iterable[Message], senses: Collection[Kind] = ()) -> None:
    """Raise UnsupportedMedia for the first part that a model with these `senses` does not take."""
    for part in foreign(messages, senses):
        raise unsupported(part)
