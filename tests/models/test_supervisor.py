"""The process boundary under faults: every death is told, nothing hangs, the server goes on."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from edgechat.errors import EngineFailed, EngineOutOfMemory, ModelFileInvalid, NotReady, RequestRefused
from edgechat.letters import Alive, Load
from edgechat.models.supervisor import Worker
from edgechat.scheduler.loop import MOST_OF_ONE
from edgechat.types import Answered, AnyEvent, Called, Delta, Done, Failed, GenRequest, Message, Read, Tool
from tests.conftest import FakeModel, rambling
from tests.prompt.families import FAMILIES


def ask(text: str, **more: object) -> GenRequest:
    return GenRequest((Message.of("user", text),), **more)  # type: ignore[arg-type]


@asynccontextmanager
async def worker(path: Path) -> AsyncIterator[Worker]:
    worker = Worker(Load("fake", str(path), 0, 1))
    try:
        await worker.start()
        yield worker
    finally:
        await worker.stop()


async def events_of(worker: Worker, request: GenRequest) -> list[AnyEvent]:
    with worker.asked(request) as events:
        return [event async for event in events]


def text_of(events: list[AnyEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


async def within(seconds: float, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def test_answers_come_through(fake_model: FakeModel) -> None:
    async with worker(fake_model()) as w:
        answers = await asyncio.gather(*(events_of(w, ask(f"number {i} 好")) for i in range(10)))
        assert [text_of(events) for events in answers] == [f"You said: number {i} 好" for i in range(10)]
        assert all(isinstance(events[-1], Done) for events in answers)


async def test_a_killed_worker_is_told_within_two_seconds_and_comes_back(fake_model: FakeModel) -> None:
    async with worker(fake_model(reply=rambling(5000), step_ms=2)) as w:
        with w.asked(ask("go", max_tokens=5000)) as events:
            async for event in events:
                if isinstance(event, Delta):
                    assert w.pid is not None
                    os.kill(w.pid, signal.SIGKILL)
                    break
            async with asyncio.timeout(2):
                rest = [event async for event in events]
        assert isinstance(rest[-1], Failed)
        assert rest[-1].code == "engine_failed"
        await within(10, lambda: w.ready)
        assert text_of(await events_of(w, ask("again", max_tokens=3))) == rambling(3)


async def test_a_request_while_the_engine_is_away_is_refused_politely(fake_model: FakeModel) -> None:
    async with worker(fake_model(load_ms=500)) as w:
        assert w.pid is not None
        os.kill(w.pid, signal.SIGKILL)
        await within(2, lambda: not w.ready)
        with pytest.raises(NotReady):
            await events_of(w, ask("hello"))
        await within(10, lambda: w.ready)


async def test_a_worker_that_dies_in_an_answer_fails_only_that_answer(fake_model: FakeModel) -> None:
    async with worker(fake_model(exit_at=3)) as w:
        events = await events_of(w, ask("x"))
        assert isinstance(events[-1], Failed)
        await within(10, lambda: w.ready)
        assert text_of(await events_of(w, ask("x", max_tokens=2))) == "Yo"


async def test_a_step_that_fails_leaves_the_worker_alive(fake_model: FakeModel) -> None:
    async with worker(fake_model(fail_at=2)) as w:
        pid = w.pid
        events = await events_of(w, ask("x"))
        assert isinstance(events[-1], Failed)
        assert w.pid == pid


async def test_a_worker_that_hangs_is_replaced_and_its_reader_is_told(
    fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgechat.models.supervisor.HANG_S", 1.0)
    async with worker(fake_model(hang_at=3)) as w:
        async with asyncio.timeout(10):
            events = await events_of(w, ask("x"))
        assert isinstance(events[-1], Failed)
        await within(10, lambda: w.ready)
        assert text_of(await events_of(w, ask("x", max_tokens=2))) == "Yo"


async def test_a_heartbeat_is_a_sign_of_life_like_any_letter(fake_model: FakeModel) -> None:
    async with worker(fake_model()) as w:
        w._heard = 0.0
        w._take(Alive())
        assert w._heard > 0.0
        assert w.ready


async def test_closing_the_stream_frees_the_engine(fake_model: FakeModel) -> None:
    async with worker(fake_model(reply=rambling(100_000), step_ms=1)) as w:
        with w.asked(ask("long", max_tokens=100_000)) as events:
            async for event in events:
                if isinstance(event, Delta):
                    break
        async with asyncio.timeout(1):
            assert text_of(await events_of(w, ask("short", max_tokens=2))) == rambling(2)


async def test_a_bad_model_fails_at_start_with_its_own_words(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text("not json")
    with pytest.raises(ModelFileInvalid, match="not a script"):
        async with worker(path):
            pass


async def test_a_worker_that_dies_while_loading_is_not_started_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgechat.process.spawn.sys.executable", "/bin/false")
    with pytest.raises(EngineFailed, match=r"status 1.*edgechat doctor"):
        async with worker(tmp_path / "any"):
            pass


async def test_a_worker_gets_no_secrets(fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MODELSCOPE_API_TOKEN", "OPENAI_API_KEY", "HTTPS_PROXY", "EDGECHAT_ANY"):
        monkeypatch.setenv(name, "canary-5b1f")
    async with worker(fake_model()) as w:
        environment = psutil.Process(w.pid).environ()
        assert "canary-5b1f" not in " ".join(environment.values())


async def test_stop_leaves_no_process(fake_model: FakeModel) -> None:
    async with worker(fake_model()) as w:
        pid = w.pid
        assert pid is not None
    assert not psutil.pid_exists(pid)


async def test_a_worker_ends_with_its_server(fake_model: FakeModel) -> None:
    """The server is gone when stdin ends; a worker in the middle of a step does not outlive it."""
    async with worker(fake_model(reply=rambling(1000), step_ms=50)) as w:
        task = asyncio.create_task(events_of(w, ask("x", max_tokens=1000)))
        await asyncio.sleep(0.3)
        process = w._process
        assert process is not None
        child = psutil.Process(process.pid)
        process.hang_up()
        await asyncio.to_thread(child.wait, 2)
        events = await task
        assert isinstance(events[-1], Failed)


async def test_a_request_that_kills_the_engine_twice_is_refused_and_nobody_else_is(fake_model: FakeModel) -> None:
    """F07: no restart loop; the others are served."""
    async with worker(fake_model(abort_on="boom")) as w:
        for _ in range(2):
            failed = (await events_of(w, ask("boom", client="a")))[-1]
            assert isinstance(failed, Failed)
            assert failed.code == "engine_failed"
            await within(20, lambda: w.ready)
        pid = w.pid
        with pytest.raises(RequestRefused, match="refused for"):
            await events_of(w, ask("boom", client="b"))
        assert text_of(await events_of(w, ask("good"))) == "You said: good"
        assert w.pid == pid


async def test_who_was_answered_when_somebody_killed_the_process_is_not_blamed(fake_model: FakeModel) -> None:
    async with worker(fake_model(reply="x" * 150, step_ms=5)) as w:
        for _ in range(3):
            with w.asked(ask("same", max_tokens=150)) as events:
                async for event in events:
                    if isinstance(event, Delta):
                        assert w.pid is not None
                        os.kill(w.pid, signal.SIGKILL)
                        break
                assert isinstance([event async for event in events][-1], Failed)
            await within(20, lambda: w.ready)
        assert text_of(await events_of(w, ask("same", max_tokens=150))) == "x" * 150


async def test_who_only_waits_is_not_blamed(fake_model: FakeModel) -> None:
    async with worker(fake_model(abort_on="boom", reply="x" * 200, step_ms=2)) as w:
        waiting = ask("patient", client="many", max_tokens=50)
        for turn in range(2):
            ahead = [ask(f"{turn} {i}", client="many", max_tokens=200) for i in range(MOST_OF_ONE)]
            running = [asyncio.create_task(events_of(w, one)) for one in (*ahead, waiting)]
            await within(10, lambda: w.open == MOST_OF_ONE + 1)
            running.append(asyncio.create_task(events_of(w, ask(f"boom {turn}", client="other"))))
            assert all(isinstance(events[-1], Failed) for events in await asyncio.gather(*running))
            await within(20, lambda: w.ready)
        assert text_of(await events_of(w, waiting)) == "x" * 50


async def test_a_stopped_process_is_replaced_and_its_late_tokens_reach_nobody(
    fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F08: no sign of life for a while is a hang; the process that wakes up later is not there any more."""
    monkeypatch.setattr("edgechat.models.supervisor.HANG_S", 1.0)
    async with worker(fake_model(replies={"old": "o" * 5000, "new": "n" * 50}, step_ms=1)) as w:
        pid = w.pid
        assert pid is not None
        with w.asked(ask("old", max_tokens=5000)) as events:
            async for event in events:
                if isinstance(event, Delta):
                    os.kill(pid, signal.SIGSTOP)
                    break
            async with asyncio.timeout(20):
                last = [event async for event in events][-1]
        assert isinstance(last, Failed)
        assert "did not go on" in last.message
        await within(20, lambda: w.ready)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        assert text_of(await events_of(w, ask("new"))) == "n" * 50


async def test_tokens_that_no_vocabulary_has_end_soon_and_are_not_shown(fake_model: FakeModel) -> None:
    """F09: an engine that lies for ever."""
    async with worker(fake_model(lie_at=2)) as w:
        async with asyncio.timeout(20):
            events = await events_of(w, ask("x"))
        assert isinstance(events[-1], Done | Failed)
        assert "".join(event.text for event in events if isinstance(event, Delta)) == "Yo"
        assert text_of(await events_of(w, ask("x", max_tokens=2))) == "Yo"


NONSENSE = {
    "a letter longer than any": r"printf '\377\377\377\377'; sleep 60",
    "no letter": r"printf '\003\000\000\000abc'; sleep 60",
    "endless garbage": "exec cat /dev/urandom",
    "a closed pipe": "exec 1>&-; sleep 60",
    "one endless line of words": "head -c 100000000 /dev/zero | tr '\\0' x >&2; exit 3",
}


@pytest.mark.parametrize("script", NONSENSE.values(), ids=NONSENSE.keys())
async def test_a_worker_that_talks_nonsense_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """F09: bounded, told, and the process is gone."""
    liar = tmp_path / "liar"
    liar.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\n{script}\n")
    liar.chmod(0o755)
    monkeypatch.setattr("edgechat.models.supervisor.LAST_WORDS_S", 0.5)
    monkeypatch.setattr("edgechat.process.spawn.sys.executable", str(liar))
    with pytest.raises(EngineFailed):
        async with asyncio.timeout(30), worker(tmp_path / "any"):
            pass
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


async def test_whoever_floods_leaves_no_pipe_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not read of a process is let go with it, and not when somebody collects garbage."""
    liar, before = tmp_path / "liar", psutil.Process().num_fds()
    liar.write_text("#!/bin/sh\nexec cat /dev/urandom\n")
    liar.chmod(0o755)
    monkeypatch.setattr("edgechat.process.spawn.sys.executable", str(liar))
    with pytest.raises(EngineFailed):
        async with worker(tmp_path / "any") as w:
            pytest.fail(f"{w.info}")
    assert psutil.Process().num_fds() <= before


async def test_a_death_for_want_of_memory_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F21: the kernel's or the library's way; the reader learns what to do."""
    dying = tmp_path / "dying"
    dying.write_text("#!/bin/sh\necho 'ggml_aligned_malloc: failed to allocate 900 MB' >&2; kill -ABRT $$\n")
    dying.chmod(0o755)
    monkeypatch.setattr("edgechat.process.spawn.sys.executable", str(dying))
    with pytest.raises(EngineOutOfMemory, match="smaller --context"):
        async with worker(tmp_path / "any"):
            pass


async def test_a_worker_that_was_killed_from_outside_is_back_at_once_however_often(fake_model: FakeModel) -> None:
    async with worker(fake_model()) as w:
        for _ in range(5):
            pid = w.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await within(8, lambda old=pid: w.ready and w.pid != old)  # type: ignore[misc]
            assert text_of(await events_of(w, ask("x"))) == "You said: x"


async def test_deaths_of_its_own_make_the_pauses_grow(fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgechat.models.supervisor.PAUSES", (0.0, 0.0, 0.0, 3600.0))
    async with worker(fake_model(exit_at=0)) as w:
        for turn in range(3):
            await within(10, lambda: w.ready)
            await events_of(w, ask(f"number {turn}"))
        await asyncio.sleep(0.5)
        assert not w.ready
        assert w.pid is None


async def test_calls_in_the_form_that_the_template_teaches_come_through(fake_model: FakeModel) -> None:
    said = "<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>"
    tool = Tool("add", parameters='{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}')
    async with worker(fake_model(reply=said, template=FAMILIES["qwen3.5"].template)) as w:
        for choice in ("auto", "required"):
            events = await events_of(w, ask("add", tools=(tool,), tool_choice=choice))
            calls = [event for event in events if isinstance(event, Called)]
            assert {call.name for call in calls} == {"add"}
            assert json.loads("".join(call.arguments for call in calls)) == {"a": 1}
            assert isinstance(events[-1], Done)
            assert events[-1].finish_reason == "tool_calls"


async def test_thinking_is_as_the_letter_has_it_where_nobody_says(fake_model: FakeModel) -> None:
    path = fake_model(template="{{ messages[0].content }}{% if enable_thinking %}<think>{% endif %}")
    for thinking in (True, False):
        w = Worker(Load("fake", str(path), 0, 1, thinking=thinking))
        try:
            await w.start()
            with w.asked(Read(ask("hi"))) as events:
                (answered,) = [event async for event in events]
            assert isinstance(answered, Answered)
            assert bytes(answered.tokens).endswith(b"<think>") == thinking
        finally:
            await w.stop()
