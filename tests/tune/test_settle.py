"""How the chosen file is run: attention, threads, slice; and what the memory gives."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import pytest

from edgechat.engine.base import Slice
from edgechat.tune import bandwidth, settle
from edgechat.tune.attention import Attention
from edgechat.tune.timing import Took, calm, usual
from edgechat.types import Sampling

USUAL = Attention(turn=2.0, beside=0.05)


@pytest.mark.parametrize(
    ("one_pass", "chosen"),
    [
        (Attention(1.8, 0.05), True),
        (Attention(1.99, 0.04), False),  # no real gain
        (Attention(1.5, 0.06), False),  # whoever reads waits longer beside a newcomer
    ],
)
def test_flash_attention_has_to_be_really_faster_and_hold_nobody_up(one_pass: Attention, chosen: bool) -> None:
    assert one_pass.beats(USUAL) is chosen


@pytest.mark.parametrize(("cores", "tried"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6])])
def test_thread_counts_are_powers_of_two_and_all(cores: int, tried: list[int]) -> None:
    assert settle._counts(cores) == tried


class Clock:
    """Moves on by hand."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now

    process_time = perf_counter  # one thread, never disturbed


class Info(NamedTuple):
    threads: int = 1


class Engine:
    """A step takes so many seconds and more for each token; with several threads, `gain` of both."""

    def __init__(self, clock: Clock, step: float, token: float, gain: dict[int, float]) -> None:
        self.clock, self.seconds, self.token, self.gain = clock, step, token, gain
        self.threads, self.info, self.tokenizer = 1, Info(), self

    def encode(self, _text: str) -> list[int]:
        return [7]

    def sampler(self, _sampling: Sampling) -> "Engine":
        return self

    def close(self) -> None: ...

    def trim(self, _seq: int) -> None: ...

    def set_threads(self, count: int) -> None:
        self.threads = count

    def step(self, batch: Sequence[Slice]) -> None:
        tokens = sum(len(part.tokens) for part in batch)
        reading = 1.0 if tokens == 1 else self.gain[self.threads]
        self.clock.now += (self.seconds + tokens * self.token) / reading


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("edgechat.tune.timing.time", clock)
    return clock


def test_writing_and_reading_get_the_thread_count_that_each_is_fastest_with(clock: Clock) -> None:
    engine = Engine(clock, 0.01, 0.001, {1: 1.0, 2: 1.9, 4: 1.7})
    assert settle._threads(engine, 4) == (1, 2)  # type: ignore[arg-type]


@pytest.mark.parametrize(("step", "chosen"), [(0.0001, 32), (0.002, 64), (0.02, 128)])
def test_the_shortest_slice_that_is_nearly_as_fast(clock: Clock, step: float, chosen: int) -> None:
    assert settle._slice(Engine(clock, step, 0.001, {1: 1.0}), 1) == chosen  # type: ignore[arg-type]


def test_bandwidth_is_bytes_by_the_best_round() -> None:
    moments = iter([0.0, 0.5, 1.0, 1.25, 2.0, 3.0])
    assert bandwidth.measured(2, size=1 << 20, rounds=3, clock=lambda: next(moments)) == (1 << 20) / 0.25


def test_the_memory_here_gives_what_another_reader_gets() -> None:
    """Python's own comparison of equal blocks reads all of them; one that ends early, or skips some, is far quicker."""
    clock = time.process_time  # neighbours who take the processor do not count
    one, other, best = b"\1" * (64 << 20), b"\1" * (64 << 20), float("inf")
    for _ in range(bandwidth.ROUNDS):
        began = clock()
        assert one == other
        best = min(best, clock() - began)
    assert 1 / 3 < bandwidth.measured(1, clock=clock) / ((len(one) + len(other)) / best) < 3


def test_steps_that_somebody_disturbed_do_not_count_where_others_were_not() -> None:
    fair, disturbed = Took(1.0, 0.99), Took(3.0, 0.5)
    assert usual([fair, disturbed, disturbed, disturbed, Took(1.2, 0.95)]) == 1.1
    assert usual([disturbed, Took(2.0, 0.6), Took(9.0, 0.2)]) == 2.0  # a neighbour only makes steps longer
    assert calm([fair, disturbed, fair])
    assert not calm([fair, disturbed, disturbed])
