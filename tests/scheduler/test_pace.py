"""The slice against made-up machines."""

import random

import pytest

from edgechat.scheduler.pace import ALONE, BATCH, BESIDE, LEAST, OVERHEAD, ROWS, STALL, TILE, Pace


@pytest.mark.parametrize("per_token", [0.0005, 0.002, 0.01])
@pytest.mark.parametrize("writers", [0, 1, 4])
def test_steps_settle_at_their_target(per_token: float, writers: int) -> None:
    pace, dice = Pace(512), random.Random(0)

    def step(writers: int, tokens: int) -> float:
        seconds = 0.010 + 0.003 * writers if writers else 0.0
        seconds += (tokens + OVERHEAD) * per_token * dice.uniform(0.9, 1.1) if tokens else 0.0
        pace.measured(writers, tokens, seconds)
        return seconds

    for _ in range(10):
        step(writers, 0) if writers else None
    times = [step(writers, pace.slice(writers)) for _ in range(50)][10:]
    target = BESIDE if writers else ALONE
    fixed = 0.010 + 0.003 * writers + OVERHEAD * per_token
    least = fixed + (LEAST + TILE - 1) * per_token
    block = fixed + (ROWS - writers) * per_token
    allowed = min(block, STALL) if writers and target < block else target
    assert max(times) < 1.25 * max(allowed, least)
    if target > least and per_token * 512 > target:
        assert sorted(times)[len(times) // 2] > 0.6 * target


def test_a_slice_never_stops_and_never_overflows() -> None:
    pace = Pace(64)
    for _ in range(20):
        pace.measured(1, 0, 5.0)
        pace.measured(1, 8, 9.0)
    assert pace.slice(1) == LEAST
    fast = Pace(64)
    fast.measured(0, 64, 0.001)
    assert fast.slice(0) == 64
    assert fast.slice(3) == 61


@pytest.mark.parametrize(("decode", "per_token", "rows"), [(20, 2.9, 16), (20, 3.4, 12), (50, 24, 8)])
def test_where_a_block_takes_too_long_there_are_as_many_rows_as_are_no_stall(
    decode: int, per_token: float, rows: int
) -> None:
    pace = Pace(512)
    pace.measured(1, 0, decode / 1000)
    pace.measured(1, 15, (decode + (15 + OVERHEAD) * per_token) / 1000)
    assert pace.slice(1) == rows - 1


def test_a_slice_that_goes_on_beside_a_writers_token_does_not_swing_into_a_stall() -> None:
    """A 1.5B's steps on two cores: 17 ms and 5 for each row, but 40 for a writer alone, who waits for the memory."""
    pace, dice = Pace(512), random.Random(1)

    def step(writers: int, tokens: int, load: float = 1) -> float:
        seconds = max(0.040, 0.017 + 0.005 * (writers + tokens)) * load * dice.uniform(0.98, 1.02)
        pace.measured(writers, tokens, seconds)
        return seconds

    step(0, 128)
    for _ in range(5):
        step(1, 0)
    assert max(step(1, pace.slice(1)) for _ in range(100)) < STALL
    assert pace.slice(1) == 11
    for load, rows in ((0.7, ROWS), (1.0, 12)):  # a neighbour leaves, and comes back
        for _ in range(60):
            step(1, 0, load)
            step(1, pace.slice(1), load)
        assert pace.slice(1) == rows - 1


def test_a_small_slice_tells_of_larger_ones() -> None:
    pace = Pace(512)
    pace.measured(1, 0, 0.020)
    for _ in range(20):
        pace.measured(1, 7, 0.020 + (7 + OVERHEAD) * 0.0029)
    assert pace.slice(1) == ROWS - 1


def test_of_one_disturbed_step_little_is_believed() -> None:
    """A hybrid's steps: 17 ms for a token, 70 with 15 of a prompt; the first one waits for somebody else."""
    pace = Pace(512)
    pace.measured(0, 128, 0.3)
    pace.measured(1, 0, 0.017)
    for seconds in (0.200, 0.070, 0.070, 0.200, 0.070):
        pace.measured(1, ROWS - 1, seconds)
    assert pace.slice(1) == ROWS - 1
    for _ in range(10):  # a neighbour who stays
        pace.measured(1, pace.slice(1), 0.070 * 1.5)
    assert pace.slice(1) < ROWS - 1


def test_beyond_a_batch_there_are_whole_ones() -> None:
    pace = Pace(512)
    pace.measured(0, 128, 0.640)
    assert pace.slice(0) == BATCH  # 160 would fit
    pace.measured(0, 128, 0.040)
    assert pace.slice(0) % BATCH == 0


def test_as_many_say_a_token_as_leaves_every_client_its_share() -> None:
    old, new = Pace(512), Pace(512)  # a processor that gains nothing by batching, and one that gains much
    for writers in range(1, 9):
        old.measured(writers, 0, 0.050 * writers)
        new.measured(writers, 0, 0.040 + 0.005 * writers)
    assert [old.writers(clients, 8) for clients in (1, 2, 4, 8, 12)] == [8, 2, 4, 8, 8]
    assert [new.writers(clients, 8) for clients in (1, 2, 4)] == [8, 8, 8]


def test_a_count_never_tried_is_tried_and_then_known() -> None:
    pace = Pace(512)
    assert pace.writers(2, 8) == 8  # nothing is known
    pace.measured(1, 0, 0.050)
    assert pace.writers(2, 8) == 3
    pace.measured(3, 0, 0.150)
    assert pace.writers(2, 8) == 2
    pace.measured(3, 0, 0.060)
    pace.measured(3, 0, 0.060)
    assert pace.writers(2, 8) > 3
