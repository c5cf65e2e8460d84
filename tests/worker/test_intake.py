"""Requests on their way to the loop: what takes long holds up nobody else."""

import threading
from collections.abc import Mapping
from queue import SimpleQueue
from typing import Any, cast

import pytest

from edgechat.engine.fake import TEMPLATE, Bytes
from edgechat.letters import Ask, Cancel, Generate
from edgechat.prompt.budget import SHORT
from edgechat.prompt.sight import Sight
from edgechat.prompt.template import Template
from edgechat.prompt.tokens import Prepared, Prompter
from edgechat.scheduler.constrain import Constrainer
from edgechat.scheduler.loop import Loop, Submit
from edgechat.types import Answered, AnyQuestion, Failed, GenRequest, Message, Tokenize
from edgechat.worker.intake import Intake

WAIT_S = 20  # for a thread's turn on a busy machine
HELD = GenRequest((Message.of("user", "x"),), schema='{"type":"object"}')
LONG_ONE = GenRequest((Message.of("user", "x" * (SHORT + 1)),))


class Slow(Prompter):
    """A prompter whose questions take until they are let go."""

    def __init__(self, context: int = 4096) -> None:
        super().__init__(Template(TEMPLATE), Bytes(), context)
        self.go = threading.Event()

    def answer(self, question: AnyQuestion, sights: Mapping[str, Sight] = {}) -> Answered:
        self.go.wait(WAIT_S)
        return super().answer(question, sights)

    def prepare(self, request: GenRequest, sights: Mapping[str, Sight] = {}) -> Prepared:
        if request.messages == LONG_ONE.messages:
            self.go.wait(WAIT_S)
        return super().prepare(request, sights)


class Door:
    """An intake, what it posts to its loop, and what it tells."""

    def __init__(self, context: int = 4096) -> None:
        self.posted: SimpleQueue[Any] = SimpleQueue()
        self.told: SimpleQueue[tuple[int, Any]] = SimpleQueue()
        self.prompter = Slow(context)
        loop = cast(Loop, self)
        self.intake = Intake(self.prompter, Constrainer(Bytes()), loop, lambda id, event: self.told.put((id, event)))

    def post(self, letter: Any) -> None:
        self.posted.put(letter)


@pytest.fixture
def door() -> Door:
    return Door()


def test_a_long_question_holds_up_no_answer(door: Door) -> None:
    door.intake.answer(Ask(1, Tokenize("ab")))
    door.intake.take(Generate(2, HELD))
    submit = door.posted.get(timeout=WAIT_S)
    assert isinstance(submit, Submit)
    assert (submit.id, submit.grammar is not None) == (2, True)
    assert door.told.empty()
    door.prompter.go.set()
    assert door.told.get(timeout=WAIT_S) == (1, Answered(tokens=(97, 98)))


def test_a_long_prompt_holds_up_nobody_whether_it_fits_or_not(door: Door) -> None:
    door.intake.take(Generate(1, LONG_ONE))
    for id, request in ((2, GenRequest((Message.of("user", "hi"),))), (3, HELD)):
        door.intake.take(Generate(id, request))
        assert door.posted.get(timeout=WAIT_S).id == id
    assert door.told.empty()
    door.prompter.go.set()
    id, event = door.told.get(timeout=WAIT_S)
    assert (id, getattr(event, "code", "")) == (1, "context_length_exceeded")


def test_who_leaves_while_a_long_prompt_is_read_never_reaches_the_loop() -> None:
    door = Door(context=SHORT * 2)
    door.intake.take(Generate(1, LONG_ONE))
    door.intake.cancel(Cancel(1))
    door.prompter.go.set()
    door.intake.take(Generate(2, LONG_ONE))
    posted = [door.posted.get(timeout=WAIT_S), door.posted.get(timeout=WAIT_S)]
    assert [(type(letter), letter.id) for letter in posted] == [(Cancel, 1), (Submit, 2)]


def test_who_leaves_while_a_grammar_is_made_never_reaches_the_loop(door: Door) -> None:
    door.intake.take(Generate(1, HELD))
    door.intake.cancel(Cancel(1))
    door.intake.take(Generate(2, HELD))
    posted = [door.posted.get(timeout=WAIT_S)]
    while not (isinstance(posted[-1], Submit) and posted[-1].id == 2):
        posted.append(door.posted.get(timeout=WAIT_S))
    submitted = [type(letter) for letter in posted if letter.id == 1]
    assert submitted in ([Cancel], [Submit, Cancel])  # it left before, or after it had arrived


def test_a_bad_schema_is_told_and_never_reaches_the_loop(door: Door) -> None:
    door.intake.take(Generate(1, GenRequest(HELD.messages, schema='{"type":"wizard"}')))
    id, event = door.told.get(timeout=WAIT_S)
    assert isinstance(event, Failed)
    assert (id, event.param) == (1, "response_format")
    assert door.posted.empty()
