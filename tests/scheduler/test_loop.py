"""The loop on the fake engine, in the test's own thread: letters in, events out, nothing timed."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgechat.engine.fake import Fake
from edgechat.errors import EngineFailed
from edgechat.letters import Cancel
from edgechat.prompt.template import Template
from edgechat.prompt.tokens import Prompter
from edgechat.scheduler.loop import RUNNING, Loop, Stop, Submit
from edgechat.types import AnyEvent, Called, Delta, Done, Failed, GenRequest, Guards, Message, Prefill, Queued, Tool
from tests.prompt.families import FAMILIES


class Bench:
    """A loop whose letters are posted in advance; a hook may post more as events come."""

    def __init__(self, folder: Path, limit: int = 64, **script: object) -> None:
        path = folder / "script.json"
        path.write_text(json.dumps(script))
        self.engine = Fake(path, 0, 0, 1, lambda _: None)
        self.events: list[tuple[int, AnyEvent]] = []
        self.beats = 0
        self.loop = Loop(self.engine, self.tell, limit, alive=self.beat)
        self.hook: Callable[[int, AnyEvent], None] = lambda id, event: None
        template = self.engine.template
        assert template is not None
        self.prompter = Prompter(Template(template), self.engine.tokenizer, self.engine.info.context)
        self.open = 0

    def tell(self, id: int, event: AnyEvent) -> None:
        self.events.append((id, event))
        self.hook(id, event)
        if isinstance(event, Done | Failed):
            self.closed()

    def beat(self) -> None:
        self.beats += 1

    def closed(self) -> None:
        self.open -= 1
        if not self.open:
            self.loop.post(Stop())

    def ask(self, id: int, *texts: str, **asked: Any) -> None:
        turns = tuple(Message.of("user" if i % 2 == 0 else "assistant", text) for i, text in enumerate(texts))
        request = GenRequest(turns, **asked)
        self.open += 1
        self.loop.post(Submit(id, request, self.prompter.prepare(request)))

    def one_by_one(self, *asks: Callable[[], None]) -> None:
        """Run the loop; each request is made when the one before is done."""
        rest = list(asks)

        def hook(id: int, event: AnyEvent) -> None:
            if isinstance(event, Done | Failed) and rest:
                rest.pop(0)()

        self.hook = hook
        rest.pop(0)()
        self.loop.run()

    def text(self, id: int) -> str:
        return "".join(event.text for one, event in self.events if one == id and isinstance(event, Delta))

    def last(self, id: int) -> AnyEvent:
        return [event for one, event in self.events if one == id][-1]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_an_answer_is_accepted_read_said_and_done(bench: Bench) -> None:
    bench.ask(1, "好" * 100, guards=Guards(loop=False))
    bench.loop.run()
    assert bench.text(1) == "You said: " + "好" * 100
    kinds = [type(event) for _, event in bench.events]
    assert kinds[0] is Queued
    assert Prefill in kinds
    assert kinds[-1] is Done
    done = bench.last(1)
    assert isinstance(done, Done)
    assert (done.finish_reason, done.stop_reason) == ("stop", "eos")
    assert done.usage.completion_tokens == len(bench.text(1).encode())


def test_what_the_engine_holds_is_not_read_again(bench: Bench) -> None:
    bench.one_by_one(
        lambda: bench.ask(1, "tell me"),
        lambda: bench.ask(2, "tell me", "You said: tell me", "more"),
        lambda: bench.ask(3, "tell me", "You said: tell me", "more"),
        lambda: bench.ask(4, "something else"),
    )
    usage = {id: event.usage for id, event in bench.events if isinstance(event, Done)}
    assert usage[1].cached_tokens == 0
    assert usage[2].cached_tokens >= usage[1].prompt_tokens + usage[1].completion_tokens
    assert usage[3].cached_tokens == usage[3].prompt_tokens - 1  # the last one is read in any case
    bench.loop._pool.check()
    assert bench.text(3) == "You said: more"
    assert bench.text(4) == "You said: something else"


@pytest.mark.parametrize(
    ("asked", "text", "reason"), [({"max_tokens": 5}, "You s", "length"), ({"stop": ("said",)}, "You ", "stop")]
)
def test_an_answer_ends_where_it_should(bench: Bench, asked: dict[str, object], text: str, reason: str) -> None:
    bench.ask(1, "x", **asked)
    bench.loop.run()
    assert bench.text(1) == text
    done = bench.last(1)
    assert isinstance(done, Done)
    assert done.stop_reason == reason


def test_an_answer_ends_at_the_end_of_the_context(tmp_path: Path) -> None:
    bench = Bench(tmp_path, context=60, reply="x" * 100)
    bench.ask(1, "hi")
    bench.loop.run()
    done = bench.last(1)
    assert isinstance(done, Done)
    assert done.stop_reason == "length"
    assert done.usage.total_tokens == 60


def test_those_who_wait_hear_their_place(bench: Bench) -> None:
    for id in range(20):
        bench.ask(id, f"number {id}", client=f"client {id}")
    bench.loop.run()
    places = {id: [e.position for one, e in bench.events if one == id and isinstance(e, Queued)] for id in range(20)}
    assert all(places[id] == [0] for id in range(RUNNING))
    assert [places[id][0] for id in range(RUNNING, 20)] == [1, 2, 3, 4]
    assert places[19] == sorted(places[19], reverse=True)
    assert [bench.text(id) for id in range(20)] == [f"You said: number {id}" for id in range(20)]


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(tmp_path: Path) -> None:
    bench = Bench(tmp_path, limit=3)
    for id in range(RUNNING + 10):
        bench.ask(id, "x", client=str(id))
    bench.loop.run()
    refused = [event for _, event in bench.events if isinstance(event, Failed)]
    assert refused
    assert {event.code for event in refused} == {"rate_limit_exceeded"}
    assert all(event.retry_after_s and event.retry_after_s > 0 for event in refused)
    assert len([event for _, event in bench.events if isinstance(event, Done)]) == RUNNING + 10 - len(refused)


@pytest.mark.parametrize("phase", [Queued, Prefill, Delta])
def test_cancel_takes_effect_within_a_step_and_harms_nobody(bench: Bench, phase: type[AnyEvent]) -> None:
    def hook(id: int, event: AnyEvent) -> None:
        if id == 1 and isinstance(event, phase) and not cancelled:
            cancelled.append(len(bench.events))
            bench.loop.post(Cancel(1))
            bench.open -= 1

    cancelled: list[int] = []
    bench.hook = hook
    bench.ask(1, "a" * 300)
    bench.ask(2, "the other")
    bench.loop.run()
    later = [event for id, event in bench.events[cancelled[0] :] if id == 1]
    assert len([event for event in later if isinstance(event, Delta)]) <= 1
    assert not any(isinstance(event, Done) for event in later)
    assert bench.text(2) == "You said: the other"


def test_a_failed_step_ends_its_answer_and_the_next_one_is_served(tmp_path: Path) -> None:
    bench = Bench(tmp_path, fail_at=3)
    bench.one_by_one(lambda: bench.ask(1, "x"), lambda: bench.ask(2, "y", max_tokens=2))
    failed = bench.last(1)
    assert isinstance(failed, Failed)
    assert failed.code == "engine_failed"
    assert bench.text(1) == "You"
    assert bench.text(2) == "Yo"


def test_an_idle_loop_sleeps(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for a letter, first beside the shelf and then without an end; waiting costs no time of a processor."""
    monkeypatch.setattr("edgechat.scheduler.loop.IDLE_S", 0.2)
    ending = threading.Timer(0.6, bench.loop.post, [Stop()])
    began, spent = time.monotonic(), time.thread_time()
    ending.start()
    bench.loop.run()
    assert time.monotonic() - began >= 0.6
    assert time.thread_time() - spent < 0.05
    ending.join()


def refuse(*_: object) -> None:
    raise EngineFailed("it does not move these cells.")


def test_who_is_not_given_shared_cells_is_told_and_the_next_one_reads_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_it() -> None:
        monkeypatch.setattr(bench.engine, "share", refuse)
        bench.ask(2, "tell me", "You said: tell me", "more")

    bench.one_by_one(lambda: bench.ask(1, "tell me"), break_it, lambda: bench.ask(3, "tell me"))
    told, done = bench.last(2), bench.last(3)
    assert isinstance(told, Failed)
    assert told.code == EngineFailed.code
    assert isinstance(done, Done)
    assert (done.usage.cached_tokens, bench.text(3)) == (0, "You said: tell me")
    bench.loop._pool.check()


def test_cells_that_are_not_cut_are_not_trusted_any_more(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two answers read the same at once; what the second has in common with the first is to be cut out of it."""
    whole = bench.engine.trim

    def asked(id: int) -> None:
        bench.ask(id, "tell me", "You said: tell me", "more")

    monkeypatch.setattr(bench.engine, "trim", lambda *wanted: whole(*wanted) if len(wanted) == 1 else refuse())

    def hook(id: int, event: AnyEvent) -> None:
        if isinstance(event, Done | Failed) and bench.open == 1:
            asked(3)
            bench.hook = lambda id, event: None

    bench.hook = hook
    asked(1)
    asked(2)
    bench.loop.run()
    ends = [bench.last(id) for id in (1, 2, 3)]
    assert [end.usage.cached_tokens for end in ends if isinstance(end, Done)] == [0, 0, 0]
    assert [bench.text(id) for id in (1, 2, 3)] == ["You said: more"] * 3
    bench.loop._pool.check()


def test_a_call_that_is_held_back_until_it_is_whole_gives_a_sign_of_life_with_every_step(tmp_path: Path) -> None:
    """For minutes, on a slow machine: without one, who only writes would be taken for one that hangs."""
    call = '<tool_call>\n{"name": "write", "arguments": {"text": "' + "a long text " * 40 + '"}}\n</tool_call>'
    bench = Bench(tmp_path, reply=call, template=FAMILIES["qwen2.5"].template)
    beats: list[int] = []
    bench.hook = lambda id, event: beats.append(bench.beats)
    bench.ask(1, "write", tools=(Tool("write", parameters='{"type": "object"}'),), guards=Guards(loop=False))
    bench.loop.run()
    assert [type(event) for _, event in bench.events[-2:]] == [Called, Done]
    assert beats[-2] - beats[-3] > 400  # steps of which there was nothing to tell
