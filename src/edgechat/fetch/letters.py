"""What the server and the process that fetches pictures say to each other.

server ── Bring ────► child       which addresses, and which hosts may be asked
       ◄─ Brought ──              the bytes of one, in order
       ◄─ NotBrought ─            instead of it, and of all that follow
"""

import msgspec

from edgechat.types import Struct


class Letter(Struct, frozen=True, tag=True):
    """What is said, either way."""


class Bring(Letter, frozen=True):
    """Fetch `urls`, of `most` bytes each at most, from `hosts` alone."""

    urls: tuple[str, ...]
    hosts: tuple[str, ...]
    most: int


class Brought(Letter, frozen=True):
    """The bytes at the next address."""

    content: bytes


class NotBrought(Letter, frozen=True):
    """It cannot be had, and why: for whoever asked."""

    why: str


AnyAnswer = Brought | NotBrought

to_child: msgspec.msgpack.Decoder[Bring] = msgspec.msgpack.Decoder(Bring)
from_child: msgspec.msgpack.Decoder[AnyAnswer] = msgspec.msgpack.Decoder(AnyAnswer)
