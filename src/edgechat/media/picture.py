"""Picture decoding: a stranger's bytes to RGB pixels, bounded before anything is allocated (decompression bombs).

    bytes ─► sniffed ─► size, scans, compression ─► decoded ─► on white, upright ─► within the cap ─► Pixels
                             └── InvalidMedia, by name ──┘

Pillow decodes, and of Pillow only the five readers below: none is chosen by what a file says of itself, and nothing of
its registry is loaded. This runs in a child without secrets or network that has limits of its own, never in the server.
Where memory or time ends first, the bounds here were too wide: an error of the child's, not of the picture's.
"""

import struct
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from typing import NamedTuple

from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Image import Resampling, Transpose
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from edgechat.errors import InvalidMedia
from edgechat.media.size import webp
from edgechat.media.sniff import HEAD, PICTURES, refusal, sniff

MOST_PIXELS = 36_000_000  # that are decoded: at most 13 bytes each, for a moment
MOST_SIDE = 32_767
MOST_RATIO = 200  # of the sides: no model is made for more
MOST_SCANS = 64  # of a progressive JPEG; cameras and editors write about ten. Each costs a pass over all pixels
BAND = 256  # rows that are put on white at once
ORIENTATION = 0x0112  # EXIF's tag: what to do, to look at it upright
UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
READERS: dict[str, Callable[[BytesIO], ImageFile.ImageFile]] = {
    "image/png": PngImageFile,
    "image/jpeg": JpegImageFile,
    "image/webp": WebPImageFile,
    "image/gif": GifImageFile,
    "image/bmp": BmpImageFile,
}


class Cap(NamedTuple):
    """How large a picture may come out. It is scaled down to that, never up.

    With a `cell`, a side is as many whole squares of so many pixels as are nearest to it, and one that is too large
    comes out in such squares, as Qwen's preprocessor makes them (`smart_resize`).
    """

    pixels: int = 1 << 20
    side: int = MOST_SIDE
    cell: int = 1


class Pixels(NamedTuple):
    """A picture: rows from the top, three bytes a pixel."""

    width: int
    height: int
    rgb: bytes


def decode(data: bytes, cap: Cap) -> Pixels:
    """The first frame of a picture, upright and without transparency. Raises InvalidMedia."""
    found = sniff(data[:HEAD])
    if found is None or found.media_type not in READERS:
        raise InvalidMedia(f"{refusal(data[:HEAD], PICTURES)}.")
    _check_head(found.media_type, data)
    try:
        image = READERS[found.media_type](BytesIO(data))
        _check_size(*image.size)
        if isinstance(image, JpegImageFile):
            image.draft("RGB", _within(*image.size, cap))  # the decoder itself leaves out what is not needed
        _check_pixels(*image.size)
        turn = _turn_of(image)
        plain = _on_white(image)
        target = _within(*plain.size, cap)
        if target != plain.size:
            plain = plain.resize(target, Resampling.BICUBIC, reducing_gap=3.0)
        if turn is not None:
            plain = plain.transpose(turn)
        return Pixels(*plain.size, plain.tobytes())
    except (InvalidMedia, MemoryError):
        raise
    except Exception as error:  # Pillow has many words for the same thing
        name = _name(found.media_type)
        cut = "truncated" in str(error)
        raise InvalidMedia(f"the {name} is cut off." if cut else f"the {name} is damaged.") from error


# ── before anything is allocated ──


def _check_head(media_type: str, data: bytes) -> None:
    """What a reader would allocate, or work on for long, as soon as it is made."""
    if media_type == "image/webp":
        with suppress(struct.error):  # cut off: its reader says so
            _check_size(*webp(data))
            _check_pixels(*webp(data))
    if media_type == "image/jpeg" and data.count(b"\xff\xda") > MOST_SCANS:
        raise InvalidMedia(f"the JPEG has more than {MOST_SCANS} scans: save it again, plainly.")
    if media_type == "image/bmp" and data[14:15] != b"\x0c" and data[30:34] not in _PLAIN_BMP:
        raise InvalidMedia("a compressed BMP is not read: send it as PNG.")


_PLAIN_BMP = tuple(struct.pack("<I", method) for method in (0, 3, 6))  # as they are, or with masks


def _check_size(width: int, height: int) -> None:
    size = f"{width} × {height} pixels"
    if not width or not height:
        raise InvalidMedia(f"the picture has {size}: there is nothing to see.")
    if max(width, height) > MOST_SIDE:
        raise InvalidMedia(f"the picture has {size}; a side may have {MOST_SIDE}.")
    if max(width, height) > MOST_RATIO * min(width, height):
        raise InvalidMedia(f"the picture has {size}: one side is more than {MOST_RATIO} times the other. Cut it.")


def _check_pixels(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise InvalidMedia(
            f"the picture has {width} × {height} pixels; {MOST_PIXELS:,} in all may be decoded. Send a smaller one."
        )


# ── decoded ──


def _turn_of(image: ImageFile.ImageFile) -> Transpose | None:
    """What makes it upright. EXIF that cannot be read says nothing: the picture is there all the same."""
    with suppress(Exception):
        return UPRIGHT.get(image.getexif().get(ORIENTATION, 1))
    return None


def _on_white(image: Image.Image) -> Image.Image:
    """The decoded picture as RGB, 8 bits a colour: palettes looked up, what is transparent shows white."""
    image.load()
    if image.mode.startswith(("I", "F")):  # 16 bits of grey
        return image.point(lambda value: value * (1 / 256)).convert("L").convert("RGB")
    if "transparency" not in image.info and image.mode not in ("RGBA", "LA", "PA", "RGBa", "La"):
        return image.convert("RGB")
    plain = Image.new("RGB", image.size, "white")
    for top in range(0, image.height, BAND):
        band = image.crop((0, top, image.width, min(top + BAND, image.height))).convert("RGBA")
        plain.paste(band, (0, top), band)
    return plain


def _within(width: int, height: int, cap: Cap) -> tuple[int, int]:
    """The largest size of the same shape that the cap allows; in whole cells, where it counts those."""
    if (cell := cap.cell) > 1 and _whole(width, cell) * _whole(height, cell) > (most := cap.pixels // cell**2):
        shrink = cell * (width * height / cap.pixels) ** 0.5
        rows = min(most, max(1, int(height / shrink)))
        return min(most // rows, max(1, int(width / shrink))) * cell, rows * cell
    scale = min(1.0, (cap.pixels / (width * height)) ** 0.5, cap.side / max(width, height))
    return max(1, int(width * scale)), max(1, int(height * scale))


def _whole(side: int, cell: int) -> int:
    return max(1, round(side / cell))


def _name(media_type: str) -> str:
    return {"image/webp": "WebP"}.get(media_type, media_type.partition("/")[2].upper())
