from collections.abc import Callable

import pytest

from edgechat.bench import sight
from edgechat.bench.alone import Figures
from edgechat.bench.client import Client, Unmeasured, address
from edgechat.media.picture import Cap, decode
from tests.bench.conftest import Serve
from tests.bench.scripted import PICTURE, Script, text_of


async def probed(probe: Callable[..., object], url: str) -> Figures:
    async with Client(address("A", url)) as client:
        found: Figures = await probe(client)  # type: ignore[misc]
        return found


def test_every_picture_is_a_new_one_of_its_size() -> None:
    one, other = sight.noise(512), sight.noise(512)
    assert one != other
    assert decode(one, Cap())[:2] == (512, 512)


@pytest.mark.alone
async def test_what_is_remembered_is_quick(serve: Serve) -> None:
    script = Script(encode_s=0.3, remembers=True)
    found = await probed(sight.picture, serve(script))
    assert all(found[f"first{side}"] >= found[f"encode{side}"] == 300 for side in sight.SIDES)
    assert found["ratio"] < 0.6
    assert found["branch"] < found["first512"]
    urls = [text_of(body["messages"][0]).split("What")[0].split("Which")[0] for body in script.bodies]
    assert len(set(urls)) == len(sight.SIDES)
    assert all(url.startswith(PICTURE) for url in urls)
    forgets = await probed(sight.picture, serve(Script(encode_s=0.1)))
    assert forgets["second"] >= 100


async def test_what_is_not_told_is_left_out(serve: Serve) -> None:
    assert not [name for name in await probed(sight.picture, serve(Script())) if name.startswith("encode")]


async def test_a_reader_stands_still_where_the_server_does(serve: Serve) -> None:
    found = await probed(sight.beside, serve(Script(encode_s=0.3, freezes=True)))
    assert found["stall"] >= 300


async def test_a_model_without_eyes_is_not_measured(serve: Serve) -> None:
    with pytest.raises(Unmeasured, match="HTTP 400"):
        await probed(sight.picture, serve(Script(refuse={0: 400})))
