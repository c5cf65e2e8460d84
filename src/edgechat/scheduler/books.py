"""The file of what is kept (framing with a checksum): whose it is can be read without reading all.

"EDGEKV1\\n" · checksum · length of the head · head (fingerprint, label, tokens) · state
"""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from edgechat.process import atomic

MAGIC = b"EDGEKV1\n"
FRONT = struct.Struct("<8sII")  # magic, CRC-32 of all that follows, length of the head
MAX_HEAD = 16 << 20
PIECE = 8 << 20  # bytes read or written at once: a long conversation has half a gigabyte, a memory card 10 MB/s

Alive = Callable[[], None]  # called after every piece


class Head(msgspec.Struct, frozen=True):
    """What a file says about its state."""

    fingerprint: str
    realm: str
    conversation: str
    tokens: list[int]
    is_checkpoint: bool = False


H = TypeVar("H", bound=Head)


def write(path: Path, head: bytes, state: bytes, alive: Alive = lambda: None) -> None:
    """Make a file at `path`. Raises OSError."""
    front = FRONT.pack(MAGIC, zlib.crc32(state, zlib.crc32(head)), len(head))
    whole = memoryview(state)
    with atomic.replacing(path, mode=0o600, durable=False) as part, part.open("wb") as file:
        file.writelines((front, head))
        for start in range(0, len(state), PIECE):
            file.write(whole[start : start + PIECE])
            alive()


def read(path: Path, alive: Alive = lambda: None) -> bytes | None:
    """The state in a file, or None when it is not what was written. Raises OSError."""
    with path.open("rb") as file:
        try:
            magic, checksum, length = FRONT.unpack(file.read(FRONT.size))
        except struct.error:
            return None
        found = zlib.crc32(head := file.read(min(length, MAX_HEAD)))
        pieces = []
        while piece := file.read(PIECE):
            found = zlib.crc32(piece, found)
            pieces.append(piece)
            alive()
    return b"".join(pieces) if magic == MAGIC and len(head) == length and found == checksum else None


def head_of(path: Path, size: int, kind: type[H]) -> H | None:
    """The head of a file of `size` bytes, or None when it is none of this kind."""
    try:
        with path.open("rb") as file:
            magic, _, length = FRONT.unpack(file.read(FRONT.size))
            if magic != MAGIC or length > min(MAX_HEAD, size):
                return None
            return msgspec.msgpack.decode(file.read(length), type=kind)
    except (OSError, struct.error, msgspec.DecodeError):
        return None
