"""What a pull and the child process that runs it say to each other.

pull ── Order ──► child        which reference, by which source
     ◄─ Resolved ──            what that is: files, sizes, hashes
     ── Go ─────►              the manifest as agreed, and where its bytes go
     ◄─ Fetched ──             they are there
     ◄─ Failed ───             instead of either answer
"""

import msgspec

from edgechat.hub.source import Manifest
from edgechat.types import Struct


class Letter(Struct, frozen=True, tag=True):
    """What is said, either way."""


class Order(Letter, frozen=True):
    """Resolve `reference` within `patience` seconds. `options` are the source's own."""

    reference: str
    options: dict[str, str]
    patience: float


class Go(Letter, frozen=True):
    """Fetch `manifest` into the folder `staging`."""

    manifest: Manifest
    staging: str


class Resolved(Letter, frozen=True):
    """What the reference is."""

    manifest: Manifest


class Fetched(Letter, frozen=True):
    """All bytes are in the staging folder; nothing was verified that the source's tool did not verify."""


class Failed(Letter, frozen=True):
    """It did not work. `code` is one of errors.py."""

    code: str
    message: str


AnyAnswer = Resolved | Fetched | Failed

to_child: msgspec.msgpack.Decoder[Order | Go] = msgspec.msgpack.Decoder(Order | Go)
from_child: msgspec.msgpack.Decoder[AnyAnswer] = msgspec.msgpack.Decoder(AnyAnswer)
