"""Fairness by tokens served: who is next, and what nobody can do to others."""

import pytest

from edgechat.engine.fake import Bytes
from edgechat.prompt.tokens import Prepared
from edgechat.scheduler.answer import Answer
from edgechat.scheduler.fair import PATIENCE, FairQueue
from edgechat.types import GenRequest, Message


class Bench:
    def __init__(self, limit: int = 100) -> None:
        self.queue = FairQueue(limit)
        self.count = 0

    def push(self, client: str, background: bool = False, now: float = 0.0) -> Answer:
        request = GenRequest((Message.of("user", "x"),), client=client, background=background)
        self.count += 1
        answer = Answer(self.count, request, Prepared([1]), Bytes(), now)
        assert self.queue.try_push(answer)
        return answer

    def serve(self, tokens: int = 100, now: float = 0.0) -> str:
        """Run the next answer to its end; returns whose it was."""
        answer = self.queue.pop(now)
        assert answer is not None
        self.queue.charge(answer.client, tokens)
        self.queue.left(answer)
        return answer.client


def test_one_client_is_served_in_order() -> None:
    bench = Bench()
    answers = [bench.push("a") for _ in range(3)]
    assert [bench.queue.pop(0) for _ in range(3)] == answers
    assert bench.queue.pop(0) is None


def test_a_flooder_waits_behind_its_own_requests() -> None:
    bench = Bench()
    for _ in range(12):
        bench.push("flooder")
    served = [bench.serve() for _ in range(3)]
    bench.push("light")
    served += [bench.serve() for _ in range(2)]
    assert "light" in served[3:]


def test_two_greedy_clients_get_equal_tokens_whatever_their_requests_cost() -> None:
    bench, tokens = Bench(1000), {"long": 0, "short": 0}
    for _ in range(200):
        bench.push("long")
        bench.push("short")
    for _ in range(200):
        answer = bench.queue.pop(0)
        assert answer is not None
        cost = 400 if answer.client == "long" else 40
        tokens[answer.client] += cost
        bench.queue.charge(answer.client, cost)
        bench.queue.left(answer)
    assert tokens["long"] == pytest.approx(tokens["short"], rel=0.1)


def test_nobody_saves_up_a_claim_by_being_away() -> None:
    bench = Bench()
    bench.push("early")
    bench.serve(1)
    for _ in range(20):
        bench.push("busy")
    for _ in range(10):
        bench.serve(1000)
    for _ in range(20):
        bench.push("early")
    served = [bench.serve(1000) for _ in range(10)]
    assert served.count("early") <= 6


def test_background_waits_but_not_for_ever() -> None:
    bench = Bench()
    bench.push("a", background=True)
    bench.push("b")
    assert bench.serve(now=1) == "b"
    for _ in range(3):
        bench.push("b")
    bench.queue.charge("b", 1)
    assert bench.serve(now=PATIENCE - 1) == "b"
    assert bench.serve(now=PATIENCE + 1) == "a"


def test_the_queue_is_bounded_but_keeps_its_promises() -> None:
    bench = Bench(limit=1)
    running = bench.push("a")
    assert bench.queue.pop(0) is running
    bench.push("a")
    refused = Answer(9, GenRequest((Message.of("user", "x"),)), Prepared([1]), Bytes(), 0)
    assert not bench.queue.try_push(refused)
    bench.queue.push_back(running)
    assert len(bench.queue) == 2


def test_names_from_outside_do_not_pile_up() -> None:
    bench = Bench()
    for number in range(5000):
        bench.push(f"client {number}")
        bench.serve(1)
    assert len(bench.queue._clients) < 1100
