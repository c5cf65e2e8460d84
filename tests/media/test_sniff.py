import pytest

from edgechat.media.sniff import HEAD, MEDIA_TYPES, PICTURES, refusal, sniff
from tests.api.page.test_attachments import FILES


def test_every_kind_is_known_by_its_first_bytes() -> None:
    assert set(FILES) == set(MEDIA_TYPES)
    for media_type, content in FILES.items():
        found = sniff(content[:HEAD])
        assert found is not None
        assert found.media_type == media_type


@pytest.mark.parametrize("head", [b"\xff\xfb\x90\x44", b"\xff\xf3\x40\xc4", b"\xff\xe3\x18\xc4", b"ID3\x03\0"])
def test_a_frame_of_mp3_needs_no_tag(head: bytes) -> None:
    assert sniff(head) == ("sound", "audio/mpeg")


@pytest.mark.parametrize(
    "head",
    [
        *(content[:3] for content in FILES.values() if content[:3] != b"\xff\xd8\xff"),
        b"\xff\xf1\x50\x80",  # AAC
        b"\xff\xfb\xf0\x44",  # a frame of no speed
        b"\xff\xfe<\0",  # text in UTF-16
        b" %PDF-1.7",
        b"PK\x03\x04",
        b"OggS",
        b"",
    ],
)
def test_half_a_signature_and_other_files_are_not(head: bytes) -> None:
    assert sniff(head) is None


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\0\0\0\x24ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x24ftypmif1\0\0\0\0mif1", "HEIF"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1", "AVIF"),
        (b"\0\0\0\x20ftypisom", "MP4"),
        (b"\x1aE\xdf\xa3\x9fB\x86", "WebM"),
        (b"II*\0\x08\0\0\0", "TIFF"),
        (b"MM\0*\0\0\0\x08", "TIFF"),
        (b"\xff\x0a\xfa", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"8BPS\0\1", "Photoshop"),
        (b"\0\0\1\0\1\0\x10\x10", "ICO"),
        (b"\xef\xbb\xbf\n<SVG xmlns", "SVG"),
        (b"<?xml version='1.0'?><svg", "XML or HTML"),
        (b"PK\3\4\x14\0", "ZIP"),
        (b"%PDF-1.7", "application/pdf"),
    ],
)
def test_what_is_not_read_is_told_by_its_name(head: bytes, name: str) -> None:
    said = refusal(head, PICTURES)
    assert said == f"these bytes are {name}, which is not read here: send one of {', '.join(PICTURES)}"
