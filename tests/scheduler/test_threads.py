"""The thread count against made-up machines: (seconds, share of the processor) of a step, by the count."""

import random
from collections.abc import Callable

from edgechat.scheduler.threads import EVERY, LASTING, Threads

Machine = Callable[[int], tuple[float, float]]


def idle(count: int) -> tuple[float, float]:
    return 0.020 / min(count, 2), 1.0


def beside_a_loop(count: int) -> tuple[float, float]:
    """One of two cores is taken: two threads wait for each other."""
    return {1: (0.020, 1.0), 2: (0.040, 0.75)}[count]


class BesideALoop:
    """The same as the kernel really shares it: the loop has the second core for some steps, then for none."""

    def __init__(self) -> None:
        self._dice = random.Random(1)

    def __call__(self, count: int) -> tuple[float, float]:
        if count == 1:
            return 0.020, 1.0
        return self._dice.choice([(0.010, 1.0), (0.010, 1.0), (0.060, 0.6), (0.080, 0.55)])


def run(threads: Threads, machine: Machine, steps: int, writers: int = 1) -> list[int]:
    counts = []
    for _ in range(steps):
        counts.append(threads.count)
        threads.measured(writers, *machine(threads.count))
    return counts


def test_an_idle_machine_keeps_all_its_threads_nearly_always() -> None:
    counts = run(Threads(2), idle, 4000)
    assert counts.count(2) > 0.995 * len(counts)


def test_a_neighbour_costs_its_share_and_no_more_and_the_threads_come_back() -> None:
    threads = Threads(2)
    run(threads, idle, 300)
    counts = run(threads, beside_a_loop, 300)
    assert counts.index(1) < 10  # noticed at once, not at the next regular look
    assert counts.count(1) > 270
    counts = run(threads, idle, EVERY)
    assert counts[-50:].count(2) > 45


def test_a_neighbour_that_comes_and_goes_within_a_step_is_noticed_too() -> None:
    threads = Threads(2)
    run(threads, idle, 100)
    counts = run(threads, BesideALoop(), 400)
    assert counts.index(1) < 60
    assert counts[60:].count(1) > 300


def test_a_step_that_takes_seconds_is_enough_and_is_not_asked_for_again() -> None:
    threads = Threads(2)
    run(threads, idle, 100)
    counts = run(threads, lambda count: {1: (0.020, 1.0), 2: (3.0, 0.5)}[count], 400)
    assert counts.count(2) == 1


def test_looks_in_vain_do_not_blunt_it_for_the_next_neighbour() -> None:
    threads = Threads(2)
    for _ in range(8):
        run(threads, lambda count: (0.030 / count, 0.7), 200)  # starved, and yet faster with two
    run(threads, idle, 60)
    counts = run(threads, beside_a_loop, 100)
    assert counts.index(1) < 10
    assert counts.count(1) > 80


def test_cores_that_stand_idle_bring_the_threads_back_soon() -> None:
    threads = Threads(2)
    run(threads, idle, 100)
    run(threads, beside_a_loop, 1000)
    assert threads.fewer
    threads.idle(0.2)
    assert threads.fewer
    threads.idle(1.0)
    assert run(threads, idle, 60)[-10:] == [2] * 10
    assert not threads.fewer


def test_a_neighbour_that_was_there_first_is_noticed_as_soon() -> None:
    counts = run(Threads(2), beside_a_loop, 100)
    assert counts.index(1) < 10
    assert counts.count(1) > 80


def test_one_core_has_one_thread_and_nothing_to_try() -> None:
    assert set(run(Threads(1), lambda _: (0.02, 0.5), 1000)) == {1}


def test_steps_with_more_readers_take_longer_and_are_no_sign() -> None:
    threads, counts = Threads(2), []
    for block in range(40):
        writers = 1 + block % 3
        counts += run(threads, lambda count, n=writers: (idle(count)[0] * (1 + n), 1.0), 25, writers)  # type: ignore[misc]
    assert counts.count(2) > 0.99 * len(counts)


def test_where_fewer_threads_do_not_help_the_tries_become_rare() -> None:
    """Starved, but still faster with two: looking again and again would cost more than it can bring."""
    counts = run(Threads(2), lambda count: (0.030 / count, 0.7), 2000)
    assert counts.count(1) < 20


def test_a_ceiling_holds_until_it_is_lifted() -> None:
    threads = Threads(4)
    threads.limit(2)
    assert set(run(threads, lambda count: (0.02 / count, 1.0), EVERY + 50)) <= {1, 2}
    threads.limit(9)
    assert run(threads, lambda count: (0.02 / count, 1.0), 1) == [4]


def test_it_begins_with_the_measured_counts() -> None:
    threads = Threads(4, decode=2, prefill=4)
    assert (threads.count, threads.prefill) == (2, 4)
    threads.limit(1)
    assert (threads.count, threads.prefill) == (1, 1)
    threads.limit(4)
    assert (threads.count, threads.prefill) == (2, 4)


def prefilling(threads: Threads, cores: float, steps: int, tokens: int = 64) -> list[int]:
    """The counts of `steps` with `tokens` of a prompt, on a machine that has so many `cores` for us."""
    counts = []
    for _ in range(steps):
        counts.append(threads.prefill)
        threads.read(tokens, min(1.0, cores / threads.prefill))
        threads.idle(cores - threads.prefill)
    return counts


def test_prompts_leave_a_neighbour_its_core_too() -> None:
    """Two threads beside a busy loop get a core and a half at best, and wait for each other."""
    assert prefilling(Threads(2), 1.4, LASTING + 2) == [2] * LASTING + [1, 1]
    assert prefilling(Threads(4), 3.2, LASTING + 2) == [4] * LASTING + [3, 3]
    assert prefilling(Threads(1), 0.5, LASTING + 2) == [1] * (LASTING + 2)


def test_one_disturbed_step_takes_no_thread_from_the_next_prompts() -> None:
    threads = Threads(2)
    for _ in range(20):
        assert prefilling(threads, 1.2, LASTING - 1) == [2] * (LASTING - 1)
        assert prefilling(threads, 2.0, 2 * LASTING) == [2] * 2 * LASTING


def test_beside_a_neighbour_who_stays_all_threads_are_hardly_ever_tried() -> None:
    assert prefilling(Threads(2), 1.4, 2 * EVERY).count(2) == 2 * LASTING


def test_the_last_token_of_a_prompt_says_nothing() -> None:
    """Much of its step is the next token's choice, by one thread: the next long prompt is read by all."""
    assert prefilling(Threads(2), 1.4, 9, tokens=1) == [2] * 9


def test_prompts_take_all_threads_again_when_the_neighbour_has_left() -> None:
    threads = Threads(2)
    assert prefilling(threads, 1.4, 90).count(1) == 90 - LASTING
    assert prefilling(threads, 2, 90)[2:] == [2] * 88


def test_prompts_do_not_ask_what_answers_found() -> None:
    threads = Threads(2)
    run(threads, beside_a_loop, 100)
    assert (threads.chosen, threads.prefill) == (1, 2)
