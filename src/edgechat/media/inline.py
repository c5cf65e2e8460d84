"""Data URLs (RFC 2397) and base64: pictures as requests carry them, taken as what their bytes are.

    data:image/png;base64,iVBORw0… ─┐
    iVBORw0…                       ─┴─► bytes ─► sniffed, bounded ─► Sent(attachment, content)

What the text says of itself (image/png) counts for nothing. Nothing is decoded here. Pure.
"""

import hashlib
from base64 import b64decode
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import unquote

from edgechat.media.sniff import HEAD, PICTURES, refusal, sniff
from edgechat.types import Attachment

MOST = 16 << 20  # bytes of one picture


class Sent(NamedTuple):
    """A picture as it came: the part of a message that it is, its bytes, the tokens it may take where that was said."""

    attachment: Attachment
    content: bytes
    tokens: int | None = None


def picture(text: str) -> Sent:
    """The picture in a data: URL, or in base64 as it stands. Raises ValueError, which tells what is wrong."""
    text = text.strip()
    if text[:5].lower() != "data:":
        return received(_decoded(text))
    about, comma, rest = text.partition(",")
    if not comma or not about.lower().replace(" ", "").endswith(";base64"):
        raise ValueError("a data: URL of a picture ends its head with ';base64,'")
    return received(_decoded(unquote(rest) if "%" in rest else rest))


def received(content: bytes) -> Sent:
    """The picture that these bytes are. Raises ValueError, which tells what is wrong."""
    if len(content) > MOST:
        raise ValueError(f"the picture has {len(content)} bytes, and may have {MOST}: send a smaller one")
    found = sniff(content[:HEAD])
    if found is None or found.kind != "picture":
        raise ValueError(refusal(content[:HEAD], PICTURES))
    return Sent(Attachment(hashlib.sha256(content).hexdigest(), *found), content)


def _decoded(text: str) -> bytes:
    if len(text) > 2 * MOST:  # base64 is 4/3 as long; line ends come on top
        raise ValueError(f"the picture is larger than the {MOST} bytes that one may have: send a smaller one")
    with suppress(ValueError):
        return b64decode(text, validate=True)
    # What browsers forgive: broken lines, padding left out. And the alphabet that is safe in addresses.
    bare = "".join(text.split()).rstrip("=").translate(_URLS)
    try:
        return b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except ValueError:
        raise ValueError("the picture is not base64") from None


_URLS = str.maketrans("-_", "+/")
