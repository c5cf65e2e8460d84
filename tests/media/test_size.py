"""How large a picture is, by its header: what the decoder says, whatever kind it is of."""

import io

import pytest
from PIL import Image

from edgechat.media.size import size_of
from edgechat.media.sniff import sniff
from tests.media.test_picture import bmp, gif, png, webp
from tests.pictures import drawn, encoded, kinds


def told(data: bytes) -> tuple[int, int] | None:
    found = sniff(data[:32])
    assert found is not None
    return size_of(io.BytesIO(data), found.media_type)


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_tells(kind: str) -> None:
    assert told(kinds()[kind]) == (60, 40)


def test_large_ones_tell_and_cost_nothing() -> None:
    assert told(png(1 << 20, 3)) == (1 << 20, 3)
    assert told(webp(16_383, 9_000)) == (16_383, 9_000)
    assert told(bmp(30_000, -20_000)) == (30_000, 20_000)
    assert told(gif(30_000, 20_000)) == (30_000, 20_000)


def test_a_jpegs_size_is_behind_all_it_has_before() -> None:
    many = encoded(drawn(), "JPEG", icc_profile=bytes(200_000), comment=b"x" * 60_000)
    assert told(many) == (60, 40)
    assert told(many[:2] + b"\xff\xff\xff" + many[2:]) == (60, 40)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "webp lossless", "gif", "bmp"])
def test_half_a_header_tells_nothing(kind: str) -> None:
    data = kinds()[kind]
    found = sniff(data[:32])
    assert found is not None
    for end in (3, 8, 9):
        assert size_of(io.BytesIO(data[:end]), found.media_type) is None
    assert size_of(io.BytesIO(b"\xff\xd8\xff\xe0\0\0" * 1000), "image/jpeg") is None
    assert size_of(io.BytesIO(encoded(Image.new("RGB", (9, 9)), "PNG")), "audio/wav") is None
