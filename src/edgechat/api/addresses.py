"""Pictures by address: fetched where an operator listed their host, and in the body as data: URLs before it is read.

    {"url": "https://listed.example/a.png"} ─► fetch/ ─► {"url": "data:;base64,iVBOR…"} ─► the dialect, as ever

Looked for are the places that dialects have for pictures, and no other text of a body.
"""

from base64 import b64encode
from collections.abc import Iterator
from typing import Any, NamedTuple

from edgechat.errors import InvalidMedia
from edgechat.fetch.errand import Fetcher
from edgechat.media.inline import MOST

MOST_ADDRESSES = 8  # of a request
MOST_BYTES = 18 << 20  # of all its pictures: as many as fit into a body, in base64


class Spot(NamedTuple):
    """A place in a body where an address stands."""

    holder: Any
    key: Any


def is_address(text: Any) -> bool:
    """Whether a picture is not here, but elsewhere."""
    return isinstance(text, str) and text.lstrip()[:8].lower().startswith(("http://", "https://"))


async def fetched(body: Any, fetcher: Fetcher) -> Any:
    """`body`, its addresses replaced by what lies there. Raises InvalidMedia."""
    spots = [spot for spot in _spots(body) if is_address(spot.holder[spot.key])]
    urls = list(dict.fromkeys(spot.holder[spot.key].strip() for spot in spots))
    if not urls:
        return body
    if len(urls) > MOST_ADDRESSES:
        raise InvalidMedia(f"pictures are fetched from {MOST_ADDRESSES} addresses at most, and there are {len(urls)}.")
    found = dict(zip(urls, await fetcher.bring(urls, MOST), strict=True))
    if sum(map(len, found.values())) > MOST_BYTES:
        raise InvalidMedia(f"the pictures have more than {MOST_BYTES} bytes together: send fewer.")
    for holder, key in spots:
        holder[key] = f"data:;base64,{b64encode(found[holder[key].strip()]).decode()}"
    return body


def _spots(body: Any) -> Iterator[Spot]:
    if not isinstance(body, dict):
        return
    yield from _listed(body.get("images"))
    for turns in (body.get("messages"), body.get("input")):
        for turn in _dicts(turns):
            yield from _listed(turn.get("images"))
            yield from _shown(turn.get("content"))
            yield from _shown(turn.get("output"))


def _listed(images: Any) -> Iterator[Spot]:
    if isinstance(images, list):
        yield from (Spot(images, at) for at in range(len(images)))


def _shown(parts: Any) -> Iterator[Spot]:
    for part in _dicts(parts):
        match part:
            case {"type": "image_url" | "input_image", "image_url": str()}:
                yield Spot(part, "image_url")
            case {"type": "image_url", "image_url": {"url": str()} as image}:
                yield Spot(image, "url")
            case {"type": "image", "source": {"type": "url", "url": str()} as source}:
                yield Spot(source, "url")
            case {"type": "tool_result", "content": content}:
                yield from _shown(content)


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        yield from (one for one in value if isinstance(one, dict))
