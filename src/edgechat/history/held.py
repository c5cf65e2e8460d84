"""What a conversation's messages hold besides text: put on the disk, and brought from it for whoever reads them."""

from collections.abc import Iterable

from edgechat.errors import EdgechatError, InvalidMedia
from edgechat.history import attachments, conversations, files
from edgechat.history.files import Incoming, Kept
from edgechat.history.store import History
from edgechat.types import Message

MOST = 32 << 20  # bytes of one conversation; a letter to a worker holds twice that


def put(history: History, owner: str, content: bytes, name: str, most: int) -> str:
    """Keep `content`, a file called `name`; its SHA-256, after COMMIT. Blocks.

    Raises InvalidRequest, StorageError, and NoSpace beyond `most` bytes of everybody's.
    """
    return keep(history, owner, files.stored(history.attachments, content, name), most).attachment.sha256


def keep(history: History, owner: str, incoming: Incoming, most: int) -> Kept:
    """The row of what is on the disk, after COMMIT; without one the file goes. Blocks. Raises what `put` raises."""
    try:
        kept = history.write(attachments.put, owner, incoming, most, conversations.now()).result()
    except EdgechatError:
        files.delete(history.attachments, [incoming.file])
        raise
    files.settle(history.attachments, incoming, kept)
    return kept


def contents(history: History, owner: str, messages: Iterable[Message]) -> dict[str, bytes]:
    """The bytes of all attachments of `messages`, by their SHA-256. Blocks.

    Raises NotFound, StorageError, and InvalidMedia for more than is read at once.
    """
    found: dict[str, bytes] = {}
    for sha256 in dict.fromkeys(part.sha256 for message in messages for part in message.attachments):
        kept = history.read(attachments.find, owner, sha256).result()
        found[sha256] = files.read(history.attachments, kept)
        if sum(map(len, found.values())) > MOST:
            raise InvalidMedia(f"this conversation holds more than {MOST} bytes besides text: begin a new one.")
    return found
