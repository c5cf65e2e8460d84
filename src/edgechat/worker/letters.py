"""How letters travel: a four-byte length, then msgpack. Both ends know the types; nothing else gets through."""

import struct

import msgspec

from edgechat.types import AnyFromWorker, AnyToWorker

LENGTH = struct.Struct("<I")
MAX_LETTER = 64 << 20  # bytes; a longer one means that the other side lost its way

_encoder = msgspec.msgpack.Encoder()
to_worker: msgspec.msgpack.Decoder[AnyToWorker] = msgspec.msgpack.Decoder(AnyToWorker)
from_worker: msgspec.msgpack.Decoder[AnyFromWorker] = msgspec.msgpack.Decoder(AnyFromWorker)


def pack(letter: AnyToWorker | AnyFromWorker) -> bytes:
    """`letter` with its length in front."""
    body = _encoder.encode(letter)
    return LENGTH.pack(len(body)) + body
