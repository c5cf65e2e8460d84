"""Multimodal latency: what a picture costs whoever shows it, and whoever reads meanwhile.

Pictures are noise in coarse squares: each a new one, small as a file, and as dear to encode as any of its size.
"""

import secrets
from io import BytesIO

from PIL import Image
from PIL.Image import Resampling

from edgechat.bench.alone import Figures, said
from edgechat.bench.client import Client, Reading
from edgechat.bench.company import beside_a_reader
from edgechat.bench.restart import restarted
from edgechat.types import Message

SIDES = (256, 512)  # pixels
SQUARE = 16
SENTENCE = 32  # tokens
ASKED = "What is this? Answer in one sentence."


def noise(side: int) -> bytes:
    """A picture of `side` × `side` pixels that nobody has seen before, as PNG."""
    squares = side // SQUARE
    image, packed = Image.frombytes("RGB", (squares, squares), secrets.token_bytes(3 * squares**2)), BytesIO()
    image.resize((side, side), Resampling.NEAREST).save(packed, "PNG")
    return packed.getvalue()


async def picture(here: Client) -> Figures:
    """New pictures by size; then a second question about the last one, and another first question."""
    found: Figures = {}
    shown, first = b"", None
    for side in SIDES:
        shown = noise(side)
        first = await _shown(here, shown, said(ASKED))
        found[f"first{side}"] = first.first_s * 1000
        if first.encode_ms is not None:
            found[f"encode{side}"] = first.encode_ms
    assert first is not None
    second = await _shown(here, shown, said(ASKED), Message.of("assistant", first.text), said("And in one word?"))
    branch = await _shown(here, shown, said("Which colours are there?"))
    found |= {"second": second.first_s * 1000, "branch": branch.first_s * 1000, "ratio": second.first_s / first.first_s}
    return found | ({} if first.decode is None else {"decode": first.decode})


async def restart(here: Client) -> Figures:
    """The same picture and question again, the server restarted between."""
    shown = noise(SIDES[-1])
    first = await _shown(here, shown, said(ASKED))
    await restarted(here)
    again = await _shown(here, shown, said(ASKED))
    return {"first": first.first_s * 1000, "second": again.first_s * 1000, "ratio": again.first_s / first.first_s}


async def beside(here: Client) -> Figures:
    """How long a reader stalls while somebody else's picture is encoded and read, and what that costs them."""
    return await beside_a_reader(
        here,
        lambda: _shown(here, noise(SIDES[-1]), said(ASKED)),
        lambda n: f"the reader's answer ended after {n} pieces, before the picture was read",
    )


async def _shown(here: Client, shown: bytes, *turns: Message) -> Reading:
    return (await here.ask(turns, SENTENCE, "viewer", pictures=[shown])).checked()
