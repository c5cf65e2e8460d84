"""Who is in a step, on a machine whose costs are made up."""

from collections import Counter

from edgechat.engine.fake import Bytes
from edgechat.prompt.tokens import Prepared
from edgechat.scheduler.answer import Answer
from edgechat.scheduler.fair import FairQueue
from edgechat.scheduler.pace import LEAST, Pace
from edgechat.scheduler.plan import PLACES, SPARING, plan
from edgechat.types import GenRequest


def slow_pace() -> Pace:
    """A processor that gains nothing by batching."""
    pace = Pace(512)
    for writers in range(1, 9):
        pace.measured(writers, 0, 0.050 * writers)
    pace.measured(0, 32, 0.64)
    return pace


class Room:
    """Answers that run, and steps that are counted."""

    def __init__(self) -> None:
        self.clients = FairQueue(100)
        self.running: list[Answer] = []
        self.places: Counter[str] = Counter()
        self.now = 1.0

    def add(self, client: str, count: int, prompt: int = 1, background: bool = False) -> None:
        for _ in range(count):
            request = GenRequest((), client=client, background=background)
            answer = Answer(len(self.running), request, Prepared([5] * prompt), Bytes(), self.now)
            self.clients.try_push(answer)
            self.clients.pop(self.now)
            answer.start(answer.id, 0, self.now)
            if prompt == 1:
                answer.done = 1
                answer.say(65, 10_000, self.now)
            self.running.append(answer)

    def step(self, pace: Pace) -> list[int]:
        """One step; returns the ids of those in it."""
        self.now += 1
        parts = plan(self.running, self.clients, pace, 512, int(self.now), self.now)
        for answer, tokens in parts:
            self.places[answer.client] += 1
            self.clients.charge(answer.client, len(tokens))
            answer.done += len(tokens)
            if answer.done == len(answer.tokens):
                answer.say(65, 10_000, self.now)
        return [part.answer.id for part in parts]


def test_a_light_client_is_in_every_step_beside_a_flooder() -> None:
    room, pace = Room(), slow_pace()
    room.add("flooder", 12)
    room.add("light", 1)
    steps = [room.step(pace) for _ in range(24)]
    assert all(len(step) == 2 and 12 in step for step in steps)
    assert {id for step in steps for id in step} == set(range(13))  # the flooder's take turns


def test_alone_a_client_fills_the_step() -> None:
    room, pace = Room(), slow_pace()
    room.add("one", 12)
    assert len(room.step(pace)) == PLACES


def test_a_prompt_that_is_read_counts_as_its_client_s_place() -> None:
    room, pace = Room(), slow_pace()
    room.add("flooder", 12)
    room.now = 2.0
    room.add("light", 1, prompt=30)
    parts = plan(room.running, room.clients, pace, 512, 0, room.now)
    assert [(part.answer.client, len(part.tokens)) for part in parts] == [("flooder", 1), ("light", LEAST)]


def test_background_answers_are_one_client_together() -> None:
    room, pace = Room(), slow_pace()
    room.add("person", 1)
    for client in "abcd":
        room.add(client, 2, background=True)
    for _ in range(40):
        assert len(room.step(pace)) == 2
    assert room.places["person"] == 40
    assert all(room.places[client] == 10 for client in "abcd")


def test_more_clients_than_places_take_turns() -> None:
    room, pace = Room(), slow_pace()
    for client in range(12):
        room.add(str(client), 1)
    for _ in range(12):
        room.step(pace)
    assert set(room.places.values()) == {8}


def test_a_flooders_next_prompts_wait_for_their_turn_beside_another_reader() -> None:
    room, pace = Room(), slow_pace()
    room.add("light", 1)
    room.add("flooder", 1)
    room.add("flooder", 1, prompt=1000)
    slices = [len(room.step(pace)) == 3 for _ in range(4 * SPARING)]
    assert slices.count(True) == 4


def test_a_background_prompt_waits_for_its_turn_beside_people() -> None:
    room, pace = Room(), slow_pace()
    room.add("light", 1)
    room.add("light", 1, prompt=1000, background=True)
    assert [len(room.step(pace)) == 2 for _ in range(4 * SPARING)].count(True) == 4


def test_a_newcomer_is_read_in_nearly_every_step_beside_a_flooder() -> None:
    room, pace = Room(), slow_pace()
    room.add("flooder", 3)
    room.add("flooder", 9, prompt=1000)
    room.add("newcomer", 1, prompt=20 * LEAST)
    newcomer = room.running[-1].id
    assert [newcomer in room.step(pace) for _ in range(4 * SPARING)].count(True) >= 4 * (SPARING - 1)


def test_alone_a_client_reads_on_in_every_step() -> None:
    room, pace = Room(), slow_pace()
    room.add("one", 1)
    room.add("one", 1, prompt=1000)
    assert all(len(room.step(pace)) == 2 for _ in range(16))


def read_together(room: Room, newcomer: int, seconds: float) -> bool:
    """Whether, `seconds` after they arrived, a step reads `newcomer` alone."""
    parts = plan(room.running, room.clients, slow_pace(), 512, 0, room.now + seconds)
    return [part.answer.id for part in parts] == [newcomer]


def test_who_arrived_together_is_read_together_for_a_while() -> None:
    room = Room()
    room.add("first", 1)
    room.add("second", 1, prompt=40)
    assert read_together(room, 1, 0.0)
    assert read_together(room, 1, 0.7)
    assert not read_together(room, 1, 0.9)  # it takes 0.7 s


def test_nobody_in_flow_waits_for_a_newcomer() -> None:
    room = Room()
    room.add("first", 1)
    room.now = 1.1
    room.add("second", 1, prompt=40)
    assert not read_together(room, 1, 0.0)


def test_nobody_waits_for_another_s_next_prompt_nor_for_one_in_no_hurry() -> None:
    room = Room()
    room.add("flooder", 1)
    room.add("flooder", 1, prompt=40)
    assert read_together(room, 1, 0.0)
    room.add("light", 1)
    assert not read_together(room, 1, 0.0)
    room.running = room.running[2:]
    room.add("light", 1, prompt=40, background=True)
    assert not read_together(room, room.running[-1].id, 0.0)
