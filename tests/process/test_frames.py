"""Letters as they travel: whole, in whatever pieces a pipe gives them, or not at all."""

import asyncio
import io

import msgspec
import pytest

from edgechat.process import frames


class Said(msgspec.Struct, frozen=True):
    text: str


DECODER = msgspec.msgpack.Decoder(Said)
NONSENSE = {"too long": b"\xff\xff\xff\xff", "empty": bytes(4), "no letter": b"\x02\0\0\0\xff\xff"}


class Dripping(io.BytesIO):
    """As a pipe may: a byte at a time."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size or 0, 1))


async def received(content: bytes) -> Said | None:
    stream = asyncio.StreamReader()
    stream.feed_data(content)
    stream.feed_eof()
    return await frames.receive(stream, DECODER)


def test_one_letter_after_the_other_however_they_come() -> None:
    letters = [Said("one"), Said(""), Said("中" * 100_000)]
    for kind in (io.BytesIO, Dripping):
        stream = kind(b"".join(map(frames.pack, letters)))
        assert [frames.read(stream, DECODER) for _ in range(4)] == [*letters, None]


@pytest.mark.parametrize("kept", range(len(frames.pack(Said("one")))))
async def test_a_letter_that_is_cut_off_is_none(kept: int) -> None:
    cut = frames.pack(Said("one"))[:kept]
    assert frames.read(io.BytesIO(cut), DECODER) is None
    assert await received(cut) is None


@pytest.mark.parametrize("content", NONSENSE.values(), ids=NONSENSE)
async def test_nonsense_is_told_before_memory_is_taken_for_it(content: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        frames.read(io.BytesIO(content), DECODER)
    with pytest.raises(msgspec.DecodeError):
        await received(content)
