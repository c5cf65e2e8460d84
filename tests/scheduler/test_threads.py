"""The thread count against made-up machines: a step's time is a function of the count."""

from collections.abc import Callable

from edgechat.scheduler.threads import EVERY, Threads

Machine = Callable[[int], float]


def idle(count: int) -> float:
    return 0.020 / min(count, 2)


def beside_a_loop(count: int) -> float:
    """One of two cores is taken: two threads wait for each other."""
    return {1: 0.020, 2: 0.040}[count]


def run(threads: Threads, machine: Machine, steps: int) -> list[int]:
    counts = []
    for _ in range(steps):
        counts.append(threads.count)
        threads.measured("step", machine(threads.count))
    return counts


def test_an_idle_machine_keeps_all_its_threads_nearly_always() -> None:
    counts = run(Threads(2), idle, 2000)
    assert counts.count(2) > 0.97 * len(counts)


def test_a_neighbour_costs_its_share_and_no_more_and_the_threads_come_back() -> None:
    threads = Threads(2)
    run(threads, idle, 1000)
    counts = run(threads, beside_a_loop, 300)
    assert counts[-200:].count(1) > 190
    first = counts.index(1)
    assert first < 10  # noticed at once, not at the next regular look
    counts = run(threads, idle, 2 * EVERY)
    assert counts[-50:].count(2) > 45


def test_a_neighbour_that_was_there_first_is_noticed_soon() -> None:
    counts = run(Threads(2), beside_a_loop, 100)
    assert counts[20:].count(1) > 70


def test_one_core_has_one_thread_and_nothing_to_try() -> None:
    assert set(run(Threads(1), lambda _: 0.02, 1000)) == {1}


def test_steps_of_different_kinds_are_not_compared() -> None:
    threads = Threads(2)
    counts = []
    for step in range(1000):
        kind = step // 50 % 3
        counts.append(threads.count)
        threads.measured(kind, idle(threads.count) * (1 + kind))
    assert counts.count(2) > 0.9 * len(counts)
