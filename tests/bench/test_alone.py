import pytest

from edgechat.bench import alone
from edgechat.bench.client import Client, address
from tests.bench.conftest import Serve
from tests.bench.scripted import CHARS, Script, alike


async def probed(probe: str, url: str) -> alone.Figures:
    async with Client(address("A", url)) as client:
        found: alone.Figures = await getattr(alone, probe)(client)
        return found


async def test_single_reads_prefill_and_decode(serve: Serve) -> None:
    found = await probed("single", serve(Script(token_s=0.005, read_s=0.0005)))
    assert found["first"] >= 600 * 0.5 * 0.8
    assert 0 < found["prefill"] <= 1 / 0.0005
    assert 0 < found["decode"] <= 1.05 / 0.005


async def test_single_leaves_out_what_the_server_does_not_count(serve: Serve) -> None:
    found = await probed("single", serve(Script(usage=False)))
    assert set(found) == {"decode", "first"}


async def test_single_takes_an_early_end_as_it_is(serve: Serve) -> None:
    assert set(await probed("single", serve(Script(said=1)))) == {"prefill", "first"}


@pytest.mark.alone
async def test_a_server_that_remembers_is_quick_at_turn_two(serve: Serve) -> None:
    forgets = await probed("turns", serve(Script(read_s=0.0005)))
    script = Script(read_s=0.0005, remembers=True)
    remembers = await probed("turns", serve(script))
    assert remembers["ratio"] < 0.6 < forgets["ratio"]
    assert remembers["second"] < remembers["first"]
    new = sum(len(turn["content"]) for turn in script.bodies[1]["messages"][1:])
    assert remembers["read"] == pytest.approx(new / CHARS, abs=1)
    assert "read" not in forgets  # it does not tell


@pytest.mark.alone
async def test_a_server_that_remembers_is_quick_at_a_branch(serve: Serve) -> None:
    script = Script(read_s=0.001, remembers=True)
    remembers = await probed("branch", serve(script))
    forgets = await probed("branch", serve(Script(read_s=0.001)))
    assert remembers["ratio"] < 0.6 < forgets["ratio"]
    one, other = (body["messages"][0]["content"] for body in script.bodies)
    assert 0.85 < alike(one, other) / len(one) < 0.95
