"""Content sniffing: what bytes are, by the signature they begin with (magic numbers). Nothing is decoded here.

What somebody says of their bytes (a Content-Type, a file's name) counts for nothing. Pure.
"""

import re
from typing import NamedTuple

from edgechat.types import Kind

HEAD = 32  # bytes that are looked at


class Found(NamedTuple):
    """What bytes turned out to be."""

    kind: Kind
    media_type: str


_SIGNATURES: tuple[tuple[bytes, Found], ...] = (
    (rb"\x89PNG\r\n\x1a\n", Found("picture", "image/png")),
    (rb"\xff\xd8\xff", Found("picture", "image/jpeg")),
    (rb"RIFF.{4}WEBP", Found("picture", "image/webp")),
    (rb"GIF8[79]a", Found("picture", "image/gif")),
    (rb"BM.{12}[\x0c(4@8l|]\0\0\0", Found("picture", "image/bmp")),  # with the size of one of its headers
    (rb"RIFF.{4}WAVE", Found("sound", "audio/wav")),
    (rb"ID3[\x02-\x04]|\xff[\xe2\xe3\xf2\xf3\xfa\xfb][\x10-\xef]", Found("sound", "audio/mpeg")),  # a tag, or a frame
    (rb"fLaC", Found("sound", "audio/flac")),
    (rb"%PDF-\d", Found("document", "application/pdf")),
)
_PATTERNS = tuple((re.compile(signature, re.DOTALL), found) for signature, found in _SIGNATURES)
MEDIA_TYPES = tuple(found.media_type for _, found in _SIGNATURES)
PICTURES = tuple(found.media_type for _, found in _SIGNATURES if found.kind == "picture")


def sniff(head: bytes) -> Found | None:
    """What begins with `head`, the first HEAD bytes or all; None for anything that is not taken."""
    return next((found for pattern, found in _PATTERNS if pattern.match(head)), None)
