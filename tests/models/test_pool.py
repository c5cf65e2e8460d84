"""Who stays in memory, who goes, and who computes with how many threads."""

import random
from math import inf

from edgechat.models.pool import Pool, Tenant


def pool(*tenants: Tenant, memory: int = 100, cores: int = 2) -> Pool[Tenant]:
    found: Pool[Tenant] = Pool(memory, cores)
    for tenant in tenants:
        found.enter(tenant)
    return found


def test_room_is_what_nobody_has_and_never_negative() -> None:
    books = pool(Tenant("a", 30), Tenant("b", 20))
    assert books.room == 50
    books.tenants[0].bytes = 95  # it turned out larger than planned
    assert books.room == 0
    books.leave(books.tenants[0])
    assert books.room == 80


def test_the_least_recently_used_goes_first_and_a_busy_one_last() -> None:
    old, new = Tenant("old", 1, used=1), Tenant("new", 1, used=2)
    busy = Tenant("busy", 1, used=0, busy=1)
    books = pool(new, busy, old)
    order = []
    while (victim := books.victim()) is not None:
        order.append(victim)
        books.leave(victim)
    assert order == [old, new, busy]


def test_who_leaves_already_is_waited_for_before_another_is_sent_off() -> None:
    leaving = Tenant("leaving", 1, used=9, busy=1, leaving=True)
    assert pool(Tenant("idle", 1), leaving).victim() is leaving


def test_a_spared_one_is_no_victim() -> None:
    only = Tenant("only", 1)
    assert pool(only).victim(spared=only) is None


def test_idle_time_ends_a_stay_and_an_answer_prolongs_it() -> None:
    short, default = Tenant("short", 1, keep=10, used=100), Tenant("default", 1, keep=inf)
    books = pool(short, default)
    assert books.expired(109) == []
    assert books.expired(110) == [short]
    short.busy = 1
    assert books.expired(1e9) == []


def test_a_model_to_be_let_go_at_once_goes_when_it_is_idle() -> None:
    assert len(pool(Tenant("a", 1, keep=0, used=5)).expired(5)) == 1


def test_busy_models_share_the_cores_and_an_idle_one_takes_none() -> None:
    a, b, idle = Tenant("a", 1, busy=3), Tenant("b", 1, busy=1), Tenant("idle", 1)
    assert pool(a, idle, cores=4).shares() == [(a, 4), (idle, 4)]
    assert pool(a, b, idle, cores=4).shares() == [(a, 2), (b, 2), (idle, 4)]
    assert pool(a, b, cores=3).shares() == [(a, 2), (b, 1)]
    assert pool(a, b, cores=1).shares() == [(a, 1), (b, 1)]


def test_shares_never_exceed_the_cores_unless_there_are_more_models_than_cores() -> None:
    draw = random.Random(7)
    for _ in range(1000):
        cores = draw.randint(1, 16)
        busy = [Tenant(str(i), 1, busy=1) for i in range(draw.randint(1, 8))]
        shares = [share for _, share in pool(*busy, cores=cores).shares()]
        assert min(shares) >= 1
        assert sum(shares) == max(cores, len(busy))
