"""Which kinds of input a model takes (modalities): every one here reads text, and none takes anything else."""

from collections.abc import Iterable

from edgechat.errors import UnsupportedMedia
from edgechat.types import Kind, Message

MANY: dict[Kind, str] = {"picture": "pictures", "sound": "sound", "document": "documents"}


def refused(what: str, *kinds: Kind) -> str:
    """Why `what`, of one of `kinds` or of any, is not taken; without a full stop."""
    many = " or ".join(MANY[kind] for kind in kinds or MANY)
    return f"{what} cannot be read: the served model reads text only, and no model here takes {many}"


def check(messages: Iterable[Message]) -> None:
    """Raise UnsupportedMedia for the first part that the model does not take."""
    for message in messages:
        for attachment in message.attachments:
            raise UnsupportedMedia(f"{refused(f'an {attachment.media_type}', attachment.kind)}.", "messages")
