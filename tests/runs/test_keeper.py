"""What follows on a run, with a runtime that says what it is told to."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgechat.errors import NotFound, ShuttingDown
from edgechat.history import conversations
from edgechat.history.held import put
from edgechat.history.records import Node, Turn
from edgechat.history.store import History
from edgechat.runs import log, run
from edgechat.runs.keeper import Runs
from edgechat.runs.run import CHECKPOINT_PIECES
from edgechat.types import (
    AnyEvent,
    Caller,
    Delta,
    Done,
    Failed,
    GenRequest,
    Message,
    Reasoning,
    Sampling,
    Timing,
    Usage,
)
from tests.pictures import drawn, encoded

SERVED = SimpleNamespace(
    name="m", sampling=Sampling(), info=SimpleNamespace(context=100, thinking_switch=True, patch=32)
)
ME = Caller("client", "me", name="me")
DONE = Done("stop", "eos", Usage(3, 2), Timing(0, 0, None))


class Scripted:
    """A runtime and its model: ready, answers with `events`, and notes what it was asked."""

    def __init__(self, *events: AnyEvent) -> None:
        self.events = events
        self.served = SERVED
        self.found: list[tuple[str | None, Caller]] = []
        self.asked: list[GenRequest] = []
        self.forgotten: list[str] = []
        self.hangs = False  # after the last of them
        self.changed = asyncio.Event()
        self.readiness = SimpleNamespace(state="ready", why=None, progress=None)

    def check(self, request: GenRequest) -> None:
        """It takes everything."""

    def find(self, name: str | None, caller: Caller) -> "Scripted":
        self.found.append((name, caller))
        return self

    async def stream(self, request: GenRequest) -> AsyncGenerator[AnyEvent, None]:
        self.asked.append(request)
        for event in self.events:
            yield event
        if self.hangs:
            await asyncio.Event().wait()

    def forget(self, conversation: str) -> None:
        self.forgotten.append(conversation)


@pytest.fixture
async def runtime() -> Scripted:
    return Scripted(Reasoning("hm"), Delta("Hel"), Delta("lo"), DONE)


@pytest.fixture
async def runs(runtime: Scripted, tmp_path: Path) -> AsyncIterator[Runs]:
    runs = Runs(runtime, History(tmp_path))  # type: ignore[arg-type]
    runs.start()
    yield runs
    await runs.close()


async def told(runs: Runs, run_id: str, owner: str = "me") -> list[log.Event]:
    return [event async for _, event in await runs.events(owner, run_id)]


async def test_thoughts_and_answer_are_kept_apart_and_a_title_is_asked_for_behind_everyone(
    runs: Runs, runtime: Scripted
) -> None:
    started = await runs.begin(ME, Turn(content="hi", model="m", params={"temperature": 0}))
    events = await told(runs, started.run_id)
    assert events[:2] == [log.Reasoning("hm"), log.Delta("Hello")]
    assert events[-1] == log.Done("stop")
    kept = runs.history.read(conversations.get, "me", started.conversation_id).result().messages[1]
    assert (kept.reasoning, kept.content, kept.status) == ("hm", "Hello", "complete")
    async with asyncio.timeout(20):
        while runs.history.read(conversations.get, "me", started.conversation_id).result().title != "Hello":
            await asyncio.sleep(0.01)
    answer, title = runtime.asked
    assert runtime.found == [("m", ME)] * 2
    assert (answer.background, answer.purpose) == (False, "answer")
    assert answer.sampling.temperature == 0
    assert answer.conversation == title.conversation == started.conversation_id
    assert (title.background, title.purpose, title.thinking) == (True, "title", False)


async def test_what_fails_says_so_and_keeps_what_it_has(runs: Runs, runtime: Scripted) -> None:
    runtime.events = (Delta("Hal"), Failed("engine_failed", "gone"))
    events = await told(runs, (await runs.begin(ME, Turn(content="hi"))).run_id)
    assert events[-1] == log.Error("engine_failed", "gone", retryable=True)
    runtime.events = (Failed("rate_limit_exceeded", "full", retry_after_s=7.0),)
    events = await told(runs, (await runs.begin(ME, Turn(content="hi"))).run_id)
    assert events[-1] == log.Error("rate_limit_exceeded", "full", retryable=True, retry_after_s=7.0)


async def test_an_answer_that_cannot_go_on_ends_as_it_did(runs: Runs, runtime: Scripted) -> None:
    """Its reader is told why; in the store it is what it was, until there is more of it."""
    started = await runs.begin(ME, Turn(content="hi"))
    await told(runs, started.run_id)

    def stored() -> Node:
        return runs.history.read(conversations.get, "me", started.conversation_id).result().messages[1]

    before = stored()
    go_on = Turn(conversation_id=started.conversation_id, continues=started.answer_id)
    runtime.events = (Failed("context_length_exceeded", "full"),)
    for failing in (before, before):
        events = await told(runs, (await runs.begin(ME, go_on)).run_id)
        assert events == [log.Snapshot("Hello", "hm"), log.Error("context_length_exceeded", "full", retryable=False)]
        assert stored() == failing
    runtime.events = (Delta("!"), Failed("engine_failed", "gone"))
    await told(runs, (await runs.begin(ME, go_on)).run_id)
    assert (stored().content, stored().status, stored().usage) == ("Hello!", "error", before.usage)
    broken = stored()
    runtime.events = (Failed("rate_limit_exceeded", "full"),)
    await told(runs, (await runs.begin(ME, go_on)).run_id)
    assert stored() == broken
    assert [request.goes_on for request in runtime.asked if request.purpose == "answer"] == [False] + [True] * 4
    assert runtime.asked[-1].messages[-1] == Message("assistant", ("Hello!",), reasoning="hm")


async def test_a_checkpoint_is_at_most_fifty_pieces_old(
    runs: Runs, runtime: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However short the time: what a quick engine wrote is in the store long before the clock's turn."""
    monkeypatch.setattr(run, "CHECKPOINT_S", 3600.0)
    runtime.events = tuple(Delta(f"{number} ") for number in range(CHECKPOINT_PIECES))
    runtime.hangs = True
    started = await runs.begin(ME, Turn(content="hi"))
    async with asyncio.timeout(20):
        while (
            not (kept := runs.history.read(conversations.get, "me", started.conversation_id).result())
            .messages[1]
            .content
        ):
            await asyncio.sleep(0.01)
    assert kept.messages[1].content == "".join(f"{number} " for number in range(CHECKPOINT_PIECES))
    assert kept.messages[1].status == "running"
    await runs.stop("me", started.run_id)


async def test_a_purge_reaches_the_engine_too(runs: Runs, runtime: Scripted) -> None:
    started = await runs.begin(ME, Turn(content="hi"))
    await told(runs, started.run_id)
    with pytest.raises(NotFound):
        await runs.purge("somebody", started.conversation_id)
    assert runtime.forgotten == []
    assert await runs.purge("me") == 1
    assert runtime.forgotten == [started.conversation_id]


async def test_nobody_reads_or_stops_somebody_elses_run(runs: Runs) -> None:
    started = await runs.begin(ME, Turn(content="hi"))
    with pytest.raises(NotFound):
        await runs.events("somebody", started.run_id)
    with pytest.raises(NotFound):
        await runs.stop("somebody", started.run_id)
    assert (await told(runs, started.run_id))[-1] == log.Done("stop")


async def test_nothing_begins_while_the_server_ends(runtime: Scripted, tmp_path: Path) -> None:
    runs = Runs(runtime, History(tmp_path))  # type: ignore[arg-type]
    runs.start()
    await runs.close()
    with pytest.raises(ShuttingDown):
        await runs.begin(ME, Turn(content="late"))


async def test_a_picture_that_was_scaled_to_be_sharp_is_read_so_for_the_title_too(
    runs: Runs, runtime: Scripted
) -> None:
    sizes = {(1152, 864): 36 * 27, (800, 640): 512, (1153, 864): 512, (2048, 2048): 512}
    digests = {put(runs.history, "me", encoded(drawn(size), "JPEG"), "", 1 << 30): most for size, most in sizes.items()}
    started = await runs.begin(ME, Turn(content="What?", attachments=tuple(digests)))
    await told(runs, started.run_id)
    async with asyncio.timeout(20):
        while len(runtime.asked) < 2:
            await asyncio.sleep(0.01)
    assert [request.picture_tokens for request in runtime.asked] == [digests] * 2
    assert [set(request.media) for request in runtime.asked] == [set(digests)] * 2
