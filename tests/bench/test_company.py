import asyncio
from pathlib import Path

import psutil
import pytest

from edgechat.bench import company
from edgechat.bench.alone import Figures
from edgechat.bench.client import Client, Reading, Unmeasured, address
from tests.api.conftest import serving as serving_edgechat
from tests.bench.conftest import Serve
from tests.bench.scripted import Script
from tests.conftest import FakeModel


async def probed(probe: str, *urls: str) -> Figures:
    clients = [Client(address(label, url)) for label, url in zip("AB", urls, strict=False)]
    found: Figures = await getattr(company, probe)(*clients)
    for client in clients:
        await client.__aexit__()
    return found


# ── newcomer ──


@pytest.mark.parametrize(
    ("times", "gap"),
    [
        ([0.0, 1.0, 4.0, 9.0], 5.0),  # 4 to 9 begins before the end
        ([0.0, 4.5, 5.0, 5.5], 4.5),  # 0 to 4.5 ends after the start
        ([0.0, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 9.0], 0.5),  # longer ones lie outside
        ([3.0], 0.0),
        ([], 0.0),
    ],
)
def test_the_gap_is_looked_for_while_the_newcomer_is_read(times: list[float], gap: float) -> None:
    assert company.longest_gap(times, 2.0, 5.0) == gap


async def test_a_server_that_freezes_shows_its_stall(serve: Serve) -> None:
    freezes = await probed("newcomer", serve(Script(read_s=0.0002, freezes=True)))
    fair = await probed("newcomer", serve(Script(read_s=0.0002)))
    assert freezes["stall"] >= 1100 * 0.2
    assert fair["stall"] < freezes["stall"]
    assert fair["first"] >= 1100 * 0.2
    assert fair["ratio"] == pytest.approx(fair["first"] / fair["solo"])


async def test_a_reader_that_ends_too_early_gives_no_figure(serve: Serve) -> None:
    with pytest.raises(Unmeasured, match="ended after 20 pieces, before the newcomer was read"):
        await probed("newcomer", serve(Script(read_s=0.0002, said=20)))


async def test_a_reader_that_fails_is_named(serve: Serve) -> None:
    with pytest.raises(Unmeasured, match="the engine ended"):
        await probed("newcomer", serve(Script(read_s=0.0002, fail=frozenset({1}))))


# ── users, flood ──


async def test_eight_together_beat_eight_in_a_row(serve: Serve) -> None:
    together = await probed("users", serve(Script()))
    in_a_row = await probed("users", serve(Script(serial=True)))
    assert together["together"] > in_a_row["together"]
    assert together["slowest"] > in_a_row["slowest"]
    assert in_a_row["slowest"] < in_a_row["alone"]


async def test_users_are_told_apart(serve: Serve) -> None:
    script = Script(token_s=0)
    await probed("users", serve(script))
    assert {body["user"] for body in script.bodies} == {f"user-{number}" for number in range(8)}


async def test_a_queue_in_order_of_arrival_shows_in_the_flood(serve: Serve) -> None:
    script = Script(serial=True)
    queue = await probed("flood", serve(script))
    fair = await probed("flood", serve(Script()))
    assert queue["slowdown"] > fair["slowdown"]
    assert queue["behind"] > 6 * queue["solo"]
    assert queue["refused"] == fair["refused"] == 0
    assert [body["user"] for body in script.bodies] == ["light", *["flooder"] * 12, "light"]


async def test_a_flood_that_is_partly_refused_is_counted(serve: Serve) -> None:
    found = await probed("flood", serve(Script(refuse=dict.fromkeys(range(5, 13), 429))))
    assert found["refused"] == 8


async def test_a_flood_that_is_wholly_refused_is_none(serve: Serve) -> None:
    with pytest.raises(Unmeasured, match="HTTP 429: come back later"):
        await probed("flood", serve(Script(refuse=dict.fromkeys(range(1, 13), 429))))


# ── other programs ──


async def test_the_neighbour_is_busy_and_then_gone() -> None:
    async with company.busy() as pid:
        spent = psutil.Process(pid).cpu_times().user
        while psutil.Process(pid).cpu_times().user == spent:
            await asyncio.sleep(0.02)
    assert not psutil.pid_exists(pid)


async def test_neighbour_compares_two_speeds(serve: Serve) -> None:
    found = await probed("neighbour", serve(Script()))
    assert found["kept"] == pytest.approx(found["beside"] / found["alone"])
    assert found["kept"] > 0
    with pytest.raises(Unmeasured, match="too short"):
        await probed("neighbour", serve(Script(said=1)))


@pytest.mark.alone
async def test_two_that_share_a_core_keep_less_than_two_that_do_not(serve: Serve) -> None:
    strangers = await probed("two", serve(Script(token_s=0.003)), serve(Script(token_s=0.003)))
    one_core = serve(Script(token_s=0.003, core=asyncio.Lock()))
    rivals = await probed("two", one_core, one_core)
    assert rivals["kept"] < strangers["kept"]
    assert rivals["kept"] < 0.75


async def test_two_with_one_that_is_broken(serve: Serve) -> None:
    with pytest.raises(Unmeasured, match="HTTP 500"):
        await probed("two", serve(Script()), serve(Script(refuse={0: 500})))


# ── many ──


async def test_many_answers_and_all_of_them_whole(serve: Serve) -> None:
    found = await probed("many", serve(Script()))
    assert found == {"errors": 0, "unended": 0, "foreign": 0, "exact": 32}


async def test_what_goes_wrong_with_many_is_counted(serve: Serve) -> None:
    script = Script(refuse={3: 429, 4: 429}, cut=frozenset({5}), fail=frozenset({6}))
    assert await probed("many", serve(script)) == {"errors": 3, "unended": 1, "foreign": 0, "exact": 28}
    mixed = await probed("many", serve(Script(mix=True)))
    assert mixed["foreign"] == 31  # the first one gets a word of nobody's
    assert mixed["exact"] == 0


def test_a_doubled_answer_is_not_exact() -> None:
    readings = [Reading(0, 1, (1.0,), text, ended=True) for text in ("ab cd", "ef gh ef gh")]
    found = company.mixed_up([("ab", "cd"), ("ef", "gh")], readings)
    assert found == {"errors": 0, "unended": 0, "foreign": 0, "exact": 1}


async def test_edgechat_mixes_nobody_up(fake_model: FakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(company, "SECRETS", 2)
    with serving_edgechat(fake_model(), tmp_path / "home") as url:
        found = await probed("many", url)
    assert found["foreign"] == found["unended"] == 0
    assert found["exact"] == 32 - found["errors"] > 0


# ── crowd, soak ──


async def test_a_crowd_is_measured_at_every_size(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(company, "CROWDS", (1, 2, 4))
    found = await probed("crowd", serve(Script(token_s=0.005)))
    assert list(found) == ["users1", "users2", "users4"]
    assert found["users4"] > found["users1"]


async def test_a_soak_counts_answers_faults_and_those_who_left(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(company, "SOAKED", 6)
    async with Client(address("A", serve(Script(refuse={0: 503, 5: 500}, cut=frozenset({3}))))) as client:
        found = await company.soak(client, 1.0)
    assert 1 <= found["errors"] <= 3
    assert found["answers"] > found["errors"]
    assert found["left"] > 0
    assert found["early"] > 0
