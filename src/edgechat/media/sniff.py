"""Content sniffing: what bytes are, by the signature they begin with (magic numbers). Nothing is decoded here.

What somebody says of their bytes (a Content-Type, a file's name) counts for nothing. Pure.
"""

import re
from collections.abc import Sequence
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
# What people send besides, and nothing here takes: told by its name.
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (rb".{4}ftyp(hei[cmsx]|hev[cx])", "HEIC"),  # what phones of Apple's take
    (rb".{4}ftyp(mif1|msf1)", "HEIF"),
    (rb".{4}ftypavi[fs]", "AVIF"),
    (rb".{4}ftyp", "MP4"),
    (rb"\x1aE\xdf\xa3", "WebM"),
    (rb"II[*+]\0|MM\0[*+]", "TIFF"),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL"),
    (rb"\0\0\0\x0cjP  ", "JPEG 2000"),
    (rb"8BPS", "Photoshop"),
    (rb"\0\0[\x01\x02]\0[^\0]\0", "ICO"),
    (rb"(?i)(\xef\xbb\xbf)?\s*<svg", "SVG"),
    (rb"(?i)(\xef\xbb\xbf)?\s*<(\?xml|!doctype html|html)", "XML or HTML"),
    (rb"PK\x03\x04", "ZIP"),
)
_PATTERNS = tuple((re.compile(signature, re.DOTALL), found) for signature, found in _SIGNATURES)
_NAMES = tuple((re.compile(signature, re.DOTALL), name) for signature, name in _OTHERS)
MEDIA_TYPES = tuple(found.media_type for _, found in _SIGNATURES)
PICTURES = tuple(found.media_type for _, found in _SIGNATURES if found.kind == "picture")


def sniff(head: bytes) -> Found | None:
    """What begins with `head`, the first HEAD bytes or all; None for anything that is not taken."""
    return next((found for pattern, found in _PATTERNS if pattern.match(head)), None)


def refusal(head: bytes, taken: Sequence[str]) -> str:
    """Why bytes that begin with `head` are none of the media types that are `taken`."""
    if not head:
        return f"there are no bytes: send one of {', '.join(taken)}"
    found = sniff(head)
    other = found.media_type if found else next((name for pattern, name in _NAMES if pattern.match(head)), "")
    if other:
        return f"these bytes are {other}, which is not read here: send one of {', '.join(taken)}"
    return f"these bytes are none of {', '.join(taken)}"
