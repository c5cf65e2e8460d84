"""The server's side of a worker: starts it, reads it, and starts it again when it dies.

starting ─► ready ─► (died) ─► starting …          after a pause that doubles with every quick death
    └──► failed: the model itself cannot be served; nothing to try again
"""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import suppress
from itertools import count

import structlog

from edgechat import machine
from edgechat.errors import EdgechatError, EngineFailed, NotReady, from_code
from edgechat.types import (
    AnyEvent,
    AnyFromWorker,
    AnyToWorker,
    Cancel,
    Done,
    Failed,
    Forget,
    Generate,
    GenRequest,
    Load,
    LoadFailed,
    Loading,
    LoadProgress,
    ModelInfo,
    Ready,
    Told,
)
from edgechat.worker import letters

PAUSES = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # seconds before a start, by deaths in a row
HANG_S = 60.0  # without a letter while answers are open: no step takes that long
LAST_WORDS_S = 4.0  # seconds that a worker has to end by itself
STEADY = 60.0  # seconds of life after which a death counts as the first again

log = structlog.get_logger("worker")


class Worker:
    """A Backend over one worker process."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._process: Process | None = None
        self._answers: dict[int, asyncio.Queue[AnyEvent]] = {}
        self._ids = count(1)
        self._ready = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._stopping = False
        self._heard = 0.0  # when the last letter came, or when nobody waited for one
        self._stderr: deque[str] = deque(maxlen=20)
        self.loading: Loading | None = None
        self.info: ModelInfo | None = None
        self.failure: EdgechatError | None = None

    async def start(self) -> ModelInfo:
        """Start the process and wait until the model answers. Raises what makes the model unservable."""
        self._keeper = asyncio.create_task(self._keep())
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait({ready, self._keeper}, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            ready.cancel()
            await self._keeper
        if self.failure is not None:
            raise self.failure
        assert self.info is not None
        return self.info

    async def stop(self) -> None:
        """End the process; running answers end with an error event.

        It gets a moment to copy what it keeps to disk.
        """
        self._stopping = True
        process = self._process
        if process is not None and process.stdin is not None:
            process.stdin.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS_S):
                    await process.wait()
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper

    @property
    def ready(self) -> bool:
        """Whether a request would be taken now."""
        return self._ready.is_set() and self.failure is None

    @property
    def pid(self) -> int | None:
        """The process's id, while there is one."""
        return self._process.pid if self._process else None

    async def stream(self, request: GenRequest) -> AsyncGenerator[AnyEvent, None]:
        """The events of one answer. Closing the iterator cancels the answer in the worker."""
        if not self.ready:
            raise NotReady("the engine is starting again: try in a few seconds.")
        id, events = next(self._ids), asyncio.Queue[AnyEvent]()
        self._answers[id] = events
        self._post(Generate(id=id, request=request))
        ended = False
        try:
            while not ended:
                event = await events.get()
                ended = isinstance(event, Done | Failed)
                yield event
        finally:
            del self._answers[id]
            if not ended:
                self._post(Cancel(id=id))

    def forget(self, conversation: str) -> None:
        """Nothing of a deleted conversation stays in the engine's memory or among its kept prefixes."""
        self._post(Forget(conversation=conversation))

    def _post(self, letter: AnyToWorker) -> None:
        """Write a letter without waiting: it must go out even while its sender is being cancelled."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(letters.pack(letter))

    async def _keep(self) -> None:
        """Run the process again and again, until its model turns out to be unservable."""
        deaths = 0
        while not (self.failure or self._stopping):
            await asyncio.sleep(PAUSES[min(deaths, len(PAUSES) - 1)])
            born = asyncio.get_running_loop().time()
            status = await self._run_once()
            lived = asyncio.get_running_loop().time() - born
            deaths = 1 if lived > STEADY else deaths + 1
            if not (self.failure or self._stopping):
                log.error("worker ended", status=status, after_s=round(lived, 1), last_words=list(self._stderr)[-3:])
                if self.info is None:
                    self.failure = EngineFailed(self._epitaph(status))

    def _epitaph(self, status: int) -> str:
        words = f" Its last words: {self._stderr[-1]}" if self._stderr else ""
        return f"the engine's process ended while it loaded the model (status {status}).{words} See `edgechat doctor`."

    async def _run_once(self) -> int:
        """One life of the process; returns its exit status. Every open answer hears of the end at once."""
        command = (sys.executable, "-m", "edgechat.worker.child")
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=machine.plain_environment(), start_new_session=True
        )
        self._process = process
        assert process.stdout is not None
        assert process.stderr is not None
        helpers = [asyncio.create_task(self._listen(process.stderr)), asyncio.create_task(self._watch(process))]
        try:
            self._post(self._load)
            await self._read(process.stdout)
            return await process.wait()
        finally:
            self._process = None
            self._ready.clear()
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            for helper in helpers:
                helper.cancel()
            self._fail_all()

    async def _read(self, stream: asyncio.StreamReader) -> None:
        """Take in letters until the stream ends."""
        with suppress(asyncio.IncompleteReadError):
            while True:
                (length,) = letters.LENGTH.unpack(await stream.readexactly(letters.LENGTH.size))
                if length > letters.MAX_LETTER:
                    log.error("the worker's letters make no sense; it is started again", length=length)
                    return
                self._take(letters.from_worker.decode(await stream.readexactly(length)))

    def _take(self, letter: AnyFromWorker) -> None:
        self._heard = asyncio.get_running_loop().time()
        match letter:
            case Told(id=id, event=event):
                if events := self._answers.get(id):
                    events.put_nowait(event)
            case LoadProgress(event=event):
                self.loading = event
            case Ready(info=info):
                self.info, self.loading = info, None
                self._ready.set()
            case LoadFailed(code=code, message=message):
                self.failure = from_code(code, message)

    async def _watch(self, process: Process) -> None:
        """End a process that says nothing while somebody waits for it."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(min(1.0, HANG_S / 4))
            if not self._answers:
                self._heard = clock()
            elif clock() - self._heard > HANG_S:
                log.error("the worker hangs; it is ended", silent_s=HANG_S)
                process.kill()
                return

    async def _listen(self, stream: asyncio.StreamReader) -> None:
        """Keep the process's last words; they name the cause when it dies."""
        while line := await stream.readline():
            self._stderr.append(line.decode(errors="replace").rstrip())
            log.debug("worker says", line=self._stderr[-1])

    def _fail_all(self) -> None:
        gone = Failed(
            code=EngineFailed.code,
            message="the engine's process ended; it is being started again. Try once more.",
        )
        for events in self._answers.values():
            events.put_nowait(gone)
