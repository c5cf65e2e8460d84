"""Strangers' pictures: what is right comes out right; what is wrong is told by name, before it costs anything."""

import json
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib

import pytest
from PIL import Image

from edgechat.errors import InvalidMedia
from edgechat.media import picture
from edgechat.media.picture import MOST_PIXELS, MOST_RATIO, MOST_SCANS, Cap, decode
from edgechat.media.sniff import PICTURES
from tests.pictures import drawn, encoded, kinds, upright

PLAIN = Cap()
MUTANTS = 2000 if os.environ.get("EDGECHAT_TORTURE") else 200


def at(data: bytes, x: float, y: float, cap: Cap = PLAIN) -> tuple[int, int, int]:
    """The colour at a place, from 0 to 1 in both directions."""
    found = decode(data, cap)
    start = 3 * (int(y * found.height) * found.width + int(x * found.width))
    red, green, blue = found.rgb[start : start + 3]
    return red, green, blue


def is_blue(colour: tuple[int, int, int]) -> bool:
    return colour[2] > 150 and colour[0] < 100


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_comes_out_as_it_was_drawn(kind: str) -> None:
    data, flipped = kinds()[kind], "turned" in kind
    found = decode(data, Cap())
    assert (found.width, found.height, len(found.rgb)) == (60, 40, 3 * 60 * 40)
    left, right = at(data, 0.25, 0.5), at(data, 0.75, 0.5)
    if "grey" in kind or "bits" in kind:
        assert left[0] == left[1] == left[2] < right[0]
    else:
        assert (is_blue(left), is_blue(right)) == (not flipped, flipped)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_it_is_looked_at_upright(kind: str) -> None:
    lying = encoded(drawn(), kind, exif=upright(6))
    assert decode(lying, Cap())[:2] == (40, 60)
    assert is_blue(at(lying, 0.5, 0.25)), "what was on the left is above"


def test_what_is_transparent_shows_white() -> None:
    clear = Image.new("RGBA", (4, 300), (255, 0, 0, 0))
    for data in (encoded(clear, "PNG"), encoded(clear, "WEBP", lossless=True), encoded(clear.convert("LA"), "PNG")):
        assert set(decode(data, Cap()).rgb) == {255}
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert set(decode(encoded(half, "PNG"), Cap()).rgb) <= {126, 127, 128}
    one = drawn().quantize()
    assert at(encoded(one, "PNG", transparency=one.getpixel((0, 0))), 0.25, 0.5) == (255, 255, 255)


def test_sixteen_bits_become_eight() -> None:
    grey = encoded(Image.new("I;16", (8, 8), 0x8000), "PNG")
    assert set(decode(grey, Cap()).rgb) <= {127, 128}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_it_is_scaled_down_to_the_cap_and_never_up(kind: str) -> None:
    data = encoded(drawn((600, 400)), kind)
    small = decode(data, Cap(pixels=15_000))
    assert 14_000 < small.width * small.height <= 15_000
    assert abs(small.width / small.height - 1.5) < 0.03
    assert max(decode(data, Cap(side=100))[:2]) == 100
    assert is_blue(at(data, 0.25, 0.5, Cap(pixels=600)))
    assert decode(data, Cap(pixels=1 << 30))[:2] == (600, 400)


# ── by name, and before anything is allocated ──


def png(width: int, height: int) -> bytes:
    """One that says it is that large, and has not one row."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")


def webp(width: int, height: int) -> bytes:
    data = bytearray(kinds()["webp animated"])
    data[24:30] = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return bytes(data)


def bmp(width: int, height: int, method: int = 0) -> bytes:
    data = bytearray(encoded(drawn(), "BMP"))
    data[18:26], data[30:34] = struct.pack("<ii", width, height), struct.pack("<I", method)
    return bytes(data)


def gif(width: int, height: int) -> bytes:
    data = bytearray(encoded(drawn(), "GIF"))
    data[6:10] = struct.pack("<HH", width, height)
    return bytes(data)


LARGE = [png(30_000, 30_000), webp(16_383, 16_383), bmp(30_000, 30_000), gif(30_000, 30_000)]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        *((data, f"{MOST_PIXELS:,} in all may be decoded. Send a smaller one.") for data in LARGE),
        (png(1 << 20, 1 << 20), "the picture has 1048576 × 1048576 pixels; a side may have 32767."),
        (png(2 * MOST_RATIO + 2, 2), f"one side is more than {MOST_RATIO} times the other. Cut it."),
        (png(0, 5), "the PNG is damaged."),
        (bmp(60, 40, 1), "a compressed BMP is not read: send it as PNG."),
        (
            kinds()["jpeg"] + b"\xff\xda" * MOST_SCANS,
            f"the JPEG has more than {MOST_SCANS} scans: save it again, plainly.",
        ),
        (kinds()["png"][:90], "the PNG is cut off."),
        (kinds()["jpeg"][:-200], "the JPEG is cut off."),
        (kinds()["bmp"][:-200], "the BMP is cut off."),
        (kinds()["webp"][:40], "the WebP is damaged."),
        (kinds()["gif"][:20], "the GIF is "),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "the PNG is damaged."),
        (b"%PDF-1.7", "these bytes are application/pdf, which is not read here: send one of image/png, image/jpeg, "),
        (b"AVI", "these bytes are none of image/png, image/jpeg, image/webp, image/gif, image/bmp."),
        (b"", "there are no bytes: send one of image/png, "),
    ],
)
def test_what_is_wrong_has_a_name_and_costs_nothing(data: bytes, why: str) -> None:
    tracemalloc.start()
    with pytest.raises(InvalidMedia) as refused:
        decode(data, Cap())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)
    assert peak < 4 << 20


def test_a_large_photograph_is_scaled_by_its_decoder() -> None:
    """More than may be decoded, as phones take them: libjpeg leaves out what the cap does not ask for."""
    data = encoded(Image.new("RGB", (8_000, 6_000), (20, 20, 220)), "JPEG")
    found = decode(data, Cap(pixels=512 * 1024))
    assert found.width * found.height <= 512 * 1024
    assert is_blue(at(data, 0.5, 0.5, Cap(pixels=512 * 1024)))


def test_readers_are_exactly_the_kinds_that_are_taken() -> None:
    assert tuple(picture.READERS) == PICTURES


def test_mutated_pictures_are_decoded_or_refused_and_nothing_else() -> None:
    """In a child with little memory, as they are where strangers send them."""
    child = subprocess.run(
        (sys.executable, "-m", "tests.pictures", str(MUTANTS), "22"), capture_output=True, text=True, timeout=600
    )
    assert child.returncode == 0, child.stderr[-2000:]
    outcomes = json.loads(child.stdout)
    assert sum(outcomes.values()) == MUTANTS
    assert min(outcomes["decoded"], outcomes["refused"]) > MUTANTS // 20
