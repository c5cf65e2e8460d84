"""Random lives of the whole scheduler on the fake engine, checked step by step.

`make test` runs a sample; `make torture` runs ten thousand.
"""

import json
import os
import random
from pathlib import Path

import pytest

from edgechat.engine.fake import Fake
from edgechat.letters import Cancel, Forget
from edgechat.prompt.template import Template
from edgechat.prompt.tokens import Prompter
from edgechat.scheduler.loop import Loop, Stop, Submit
from edgechat.scheduler.shelf import Shelf
from edgechat.types import AnyEvent, Delta, Done, Failed, GenRequest, Message

LIVES = 10_000 if os.environ.get("EDGECHAT_TORTURE") else 150
STEPS = 4000  # far more than any life needs: more means that somebody starved


class Life:
    """A loop, clients with random wishes, and what became of them."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.dice = random.Random(seed)
        script = folder / "script.json"
        written: dict[str, int] = {"context": 400, "cells": self.dice.choice([400, 700, 2000])}
        if seed % 2:  # a model that keeps a running state
            written |= {"checkpoints": self.dice.choice([1, 3, 30]), "sequences": self.dice.choice([2, 5, 17])}
        script.write_text(json.dumps(written))
        self.engine = Fake(script, 0, 0, 1, lambda _: None)
        budget = self.dice.choice([5_000, 1_000_000])
        shelf = Shelf(folder / f"shelf{seed}", budget, "x", self.engine.cuts) if seed % 3 == 0 else None
        self.loop = Loop(self.engine, self.tell, self.dice.choice([3, 50]), shelf)
        assert self.engine.template
        self.prompter = Prompter(Template(self.engine.template), self.engine.tokenizer, 400)
        self.expected: dict[int, str] = {}
        self.text: dict[int, str] = {}
        self.ended: dict[int, AnyEvent] = {}
        self.cancelled: set[int] = set()
        self.waves = self.dice.randrange(1, 5)
        self.steps = 0

    def tell(self, id: int, event: AnyEvent) -> None:
        assert id not in self.ended, "nothing follows the end"
        if isinstance(event, Delta):
            self.text[id] += event.text
        if isinstance(event, Done | Failed):
            self.ended[id] = event

    def wave(self) -> None:
        """Some requests at once."""
        for _ in range(self.dice.randrange(1, 15)):
            id = len(self.expected)
            topic = self.dice.choice(["bread", "rain and wind", "stars " * self.dice.randrange(1, 12)])
            most = self.dice.choice([1, 20, 200])
            request = GenRequest(
                (Message.of("system", "be kind " * self.dice.randrange(3)), Message.of("user", topic)),
                max_tokens=most,
                client=self.dice.choice("abc"),
                background=self.dice.random() < 0.2,
                realm=self.dice.choice("xy"),
                conversation=self.dice.choice("pqr"),
            )
            self.expected[id] = f"You said: {topic}"[:most]
            self.text[id] = ""
            self.loop.post(Submit(id, request, self.prompter.prepare(request)))

    def run(self) -> None:
        step = self.loop._step

        def watched() -> None:
            step()
            self.loop._pool.check()
            self.steps += 1
            assert self.steps < STEPS, "somebody starves"
            if self.dice.random() < 0.02:
                id = self.dice.randrange(len(self.expected))
                if id not in self.ended:
                    self.cancelled.add(id)
                self.loop.post(Cancel(id))
            if self.dice.random() < 0.01:
                self.loop.post(Forget(self.dice.choice("pqr")))
            if self.waves and self.dice.random() < 0.05:
                self.waves -= 1
                self.wave()

        self.loop._step = watched  # type: ignore[method-assign]
        self.loop._wait = lambda: self.loop._next() or Stop()  # type: ignore[method-assign]
        self.wave()
        self.loop.run()


@pytest.mark.parametrize("seed", range(LIVES))
def test_everyone_gets_their_own_answer_and_nothing_leaks(seed: int, tmp_path: Path) -> None:
    life = Life(seed, tmp_path)
    life.run()
    for id, event in life.ended.items():
        if isinstance(event, Done):
            assert life.text[id] == life.expected[id]
        else:
            assert isinstance(event, Failed)
            assert event.code in ("rate_limit_exceeded", "context_length_exceeded")
    unfinished = set(life.expected) - set(life.ended)
    assert unfinished <= life.cancelled
    assert not life.loop._samplers
    assert not life.loop._pool._own
    life.loop._pool.check()
