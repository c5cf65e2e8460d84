"""Dimensions of a picture, read from its header: nothing is decoded or allocated, whatever the header says. Pure.

As they lie in the file: how a camera was held (EXIF) turns them later.
"""

import struct
from contextlib import suppress
from typing import BinaryIO

HEAD = 32  # bytes: every header but a JPEG's is within them
SEGMENTS = 512  # of a JPEG that are looked through; cameras write a dozen
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the segments of a JPEG that begin with its size


def size_of(file: BinaryIO, media_type: str) -> tuple[int, int] | None:
    """Width and height of a picture that begins where `file` stands; None where its header does not tell them."""
    with suppress(struct.error):
        if media_type == "image/jpeg":
            return _jpeg(file)
        head = file.read(HEAD)
        match media_type:
            case "image/png":
                width, height = struct.unpack_from(">II", head, 16)
                return width, height
            case "image/gif":
                width, height = struct.unpack_from("<HH", head, 6)
                return width, height
            case "image/webp":
                return webp(head)
            case "image/bmp":
                width, height = struct.unpack_from("<HH" if head[14:15] == b"\x0c" else "<ii", head, 18)
                return width, abs(height)  # below zero where its first row is the upper one
    return None


def webp(head: bytes) -> tuple[int, int]:
    """As each of the three kinds of WebP has them. Raises struct.error."""
    kind = head[12:16]
    if kind == b"VP8X":
        wide, wider, high, higher = struct.unpack_from("<HBHB", head, 24)
        return (wide | wider << 16) + 1, (high | higher << 16) + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", head, 26)
    return width & 0x3FFF, height & 0x3FFF


def _jpeg(file: BinaryIO) -> tuple[int, int] | None:
    """Segments, each with its length, up to the first frame's. Raises struct.error."""
    file.seek(2, 1)
    for _ in range(SEGMENTS):
        mark, kind = struct.unpack(">BB", file.read(2))
        while kind == 0xFF:  # padding
            (kind,) = struct.unpack(">B", file.read(1))
        if mark != 0xFF:
            return None
        (length,) = struct.unpack(">H", file.read(2))
        if kind in _FRAMES:
            _, height, width = struct.unpack(">BHH", file.read(5))
            return width, height
        file.seek(length - 2, 1)
    return None
