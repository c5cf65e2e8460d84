"""Background jobs: all runs of a server, begun, found again, stopped, and what follows on them (a title), once each."""

import asyncio
import time
from asyncio import wrap_future
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing, suppress
from typing import Any

import structlog

from edgechat.errors import EdgechatError, NotReady, ShuttingDown
from edgechat.history import attachments, conversations, removal, turns
from edgechat.history.records import Node, Outcome, Started, Turn
from edgechat.history.store import History
from edgechat.runs import log, title
from edgechat.runs.run import OWN, Run, ending, sharpness
from edgechat.runtime import Runtime
from edgechat.types import Caller, Delta, Failed, GenRequest, Message

KEPT_S = 300.0  # how long the log of a run that ended stays in memory; then the store answers
UNDO_MS = 30 * 24 * 3_600_000  # how long what was deleted can be brought back
HOUSEKEEPING_S = 3600.0
LAST_WORDS_S = 3.0  # for answers to get into the store when the server ends

logger = structlog.get_logger("runs")


class Runs:
    """Runs over one runtime and one history. All methods belong to one event loop."""

    def __init__(self, runtime: Runtime, history: History) -> None:
        self.history = history
        self._runtime = runtime
        self._runs: dict[str, Run] = {}
        self._latest: dict[str, Run] = {}  # by conversation
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    def start(self) -> None:
        """Open the history, unless it is, and keep it tidy."""
        self.history.open()
        self._spawn(self._tidy())

    async def close(self) -> None:
        """End every run, and store what each has."""
        self._closing = True
        unsettled = [run for run in self._runs.values() if not run.log.ended.is_set()]
        for run in unsettled:
            run.cancel()
        if unsettled:
            await asyncio.wait([asyncio.create_task(run.log.ended.wait()) for run in unsettled], timeout=LAST_WORDS_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self.history.close)

    # ── runs ──

    async def begin(self, caller: Caller, turn: Turn, key: str | None = None) -> Started:
        """Store the turn and let it run; it is stored when this returns. The same `key` and turn begin only once.

        Raises NotFound, InvalidRequest, KeyReused, StorageError.
        """
        # A client that leaves now must not leave a stored turn behind that nobody runs.
        return await asyncio.shield(self._spawned(self._begin(caller, turn, key)))

    async def _begin(self, caller: Caller, turn: Turn, key: str | None) -> Started:
        if self._closing:
            raise ShuttingDown("the server is being stopped: send it again soon.")
        full = await wrap_future(self.history.read(conversations.completed, caller.realm, turn))
        await self._check_senses(caller, full)
        started, new = await wrap_future(self.history.write(turns.begin, caller.realm, turn, self.history.lease, key))
        if new:
            read = self.history.read
            begun = await wrap_future(read(turns.answer_of, caller.realm, started.run_id)) if turn.continues else None
            run = Run(self._runtime, self.history, started, full, caller, begun)
            former = self._latest.get(started.conversation_id)
            self._runs[started.run_id] = self._latest[started.conversation_id] = run
            self._spawn(self._see_through(run, former))
        return started

    async def _check_senses(self, caller: Caller, turn: Turn) -> None:
        """Raise UnsupportedMedia before a turn is stored that its model cannot read. No model yet: all are stored."""
        if not turn.attachments:
            return
        kept = [await wrap_future(self.history.read(attachments.find, caller.realm, one)) for one in turn.attachments]
        with suppress(NotReady):
            asked = Message("user", tuple(one.attachment for one in kept))
            self._runtime.find(turn.model, caller).check(GenRequest((asked,)))

    async def _see_through(self, run: Run, former: Run | None) -> None:
        await run.produce(former)
        conversation_id = run.started.conversation_id
        if self._latest.get(conversation_id) is run:
            del self._latest[conversation_id]
            if run.outcome is not None and run.outcome.status == "complete":
                await self._entitle(run)
        run.media = {}
        await asyncio.sleep(KEPT_S)
        del self._runs[run.started.run_id]

    def find(self, owner: str, run_id: str) -> Run | None:
        """The run, while it is in memory."""
        run = self._runs.get(run_id)
        return run if run is not None and run.owner == owner else None

    async def events(self, owner: str, run_id: str, after: int = 0) -> AsyncGenerator[tuple[int, log.Event], None]:
        """The numbered events of a run from after number `after` on, to its end. Raises NotFound.

        Of one that is no longer in memory: a snapshot of the answer, and how it ended, numbered 0.
        """
        if run := self.find(owner, run_id):
            return run.log.follow(after)
        return _told(await wrap_future(self.history.read(turns.answer_of, owner, run_id)))

    async def stop(self, owner: str, run_id: str) -> None:
        """End the run and keep what it has; returns when that is told. One that has ended stays as it is."""
        run = self.find(owner, run_id)
        if run is None:
            await wrap_future(self.history.read(turns.answer_of, owner, run_id))
            return
        if not run.log.ended.is_set():
            run.stop()
            await run.log.ended.wait()

    async def stop_conversation(self, owner: str, conversation_id: str | None = None) -> None:
        """End the runs of one conversation, or of all with None."""
        for run in list(self._runs.values()):
            if run.owner == owner and conversation_id in (None, run.started.conversation_id):
                await self.stop(owner, run.started.run_id)

    async def purge(self, owner: str, conversation_id: str | None = None) -> int:
        """Destroy one conversation, or all with None: on disk, in the engine's memory, among its kept prefixes."""
        await self.stop_conversation(owner, conversation_id)
        gone = await wrap_future(self.history.free(conversations.purge, owner, conversation_id))
        await self._forget(gone)
        return len(gone)

    # ── what follows ──

    async def _entitle(self, run: Run) -> None:
        """Let the model find a title, behind everyone who waits for an answer."""
        started = run.started
        try:
            if not await wrap_future(self.history.read(conversations.wants_title, started.conversation_id)):
                return
            messages = await wrap_future(self.history.read(turns.path, started.answer_id))
            found = await self._ask_title(messages, run)
            if found:
                await wrap_future(self.history.write(conversations.entitle, run.owner, started.conversation_id, found))
        except EdgechatError as error:
            logger.info("no title", why=str(error))

    async def _ask_title(self, messages: list[Message], run: Run) -> str:
        model = self._runtime.find(run.turn.model, run.caller)
        request = GenRequest(
            title.question(messages),
            model.served.sampling,
            media=run.media,
            picture_tokens=sharpness(messages, run.media, model.served.info.patch),
            max_tokens=title.MAX_TOKENS,
            thinking=False if model.served.info.thinking_switch else None,
            background=True,
            purpose="title",
            conversation=run.started.conversation_id,
            user=OWN,
        )
        said = []
        async with aclosing(model.stream(request)) as events:
            async for event in events:
                if isinstance(event, Delta):
                    said.append(event.text)
                elif isinstance(event, Failed):
                    return ""
        return title.title_from("".join(said))

    async def _tidy(self) -> None:
        """From time to time: settle what dead processes left, destroy what was deleted long ago."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            with suppress(EdgechatError):
                await asyncio.to_thread(self.history.reap)
                before = time.time_ns() // 1_000_000 - UNDO_MS
                for purge_old in (conversations.purge_old, removal.purge_old):
                    await self._forget(await wrap_future(self.history.write(purge_old, before)))
                await asyncio.to_thread(self.history.expire)

    async def _forget(self, gone: list[str]) -> None:
        for id in gone:
            self._runtime.forget(id)
        if gone:
            await wrap_future(self.history.scrub())
            await asyncio.to_thread(self.history.sweep)

    # ── tasks ──

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._spawned(work)

    def _spawned(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _told(answer: Node) -> AsyncGenerator[tuple[int, log.Event], None]:
    """What the store knows of a run that is no longer in memory."""
    yield 0, log.Snapshot(answer.content, answer.reasoning)
    if answer.usage is not None:
        yield 0, log.Usage(**answer.usage)
    if answer.status != "running":
        error, finish = answer.error, answer.finish_reason
        yield 0, ending(Outcome(answer.status, answer.content, error=error, finish_reason=finish))
