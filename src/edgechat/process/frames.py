"""Length-prefixed framing: a letter is four bytes that tell its length, little-endian, then msgpack."""

import asyncio
import struct
from typing import IO, TypeVar

import msgspec

LENGTH = struct.Struct("<I")
MAX_LETTER = 64 << 20  # bytes; a longer one means that the other side lost its way

T = TypeVar("T")
_encoder = msgspec.msgpack.Encoder()


def pack(letter: msgspec.Struct) -> bytes:
    """`letter` as it travels."""
    body = _encoder.encode(letter)
    return LENGTH.pack(len(body)) + body


def read(stream: IO[bytes], decoder: msgspec.msgpack.Decoder[T]) -> T | None:
    """The next letter, waited for; None where the stream ends first. Raises DecodeError for what is none."""
    head = _exactly(stream, LENGTH.size)
    body = _exactly(stream, _length(head)) if head else None
    return decoder.decode(body) if body else None


async def receive(stream: asyncio.StreamReader, decoder: msgspec.msgpack.Decoder[T]) -> T | None:
    """As `read`, on the loop."""
    try:
        body = await stream.readexactly(_length(await stream.readexactly(LENGTH.size)))
    except asyncio.IncompleteReadError:
        return None
    return decoder.decode(body)


def _length(head: bytes | bytearray) -> int:
    (length,) = LENGTH.unpack(head)
    if not 0 < length <= MAX_LETTER:
        raise msgspec.DecodeError(f"a letter has no {length} bytes")
    return int(length)


def _exactly(stream: IO[bytes], size: int) -> bytearray | None:
    """`size` bytes, in however many pieces a raw stream gives them."""
    got = bytearray()
    while len(got) < size:
        piece = stream.read(size - len(got))
        if not piece:
            return None
        got += piece
    return got
