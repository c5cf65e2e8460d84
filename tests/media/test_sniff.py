import pytest

from edgechat.media.sniff import HEAD, MEDIA_TYPES, sniff
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
