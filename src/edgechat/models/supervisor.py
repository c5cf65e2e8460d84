"""The server's side of a worker: starts it, reads it, and starts it again when it dies.

starting ─► ready ─► (died) ─► starting …          after a pause that doubles with every quick death
    └──► failed: the model itself cannot be served; nothing to try again

A new process knows nothing of the old one's answers: those ended when it died, and no answer's number is used twice.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Self

import msgspec
import structlog

from edgechat.errors import EdgechatError, NotReady, RequestRefused, from_code
from edgechat.letters import (
    Alive,
    AnyFromWorker,
    AnyToWorker,
    Ask,
    Cancel,
    Cores,
    Forget,
    Generate,
    Load,
    LoadFailed,
    LoadProgress,
    Ready,
    Told,
    from_worker,
)
from edgechat.models import deaths, spare
from edgechat.models.poison import Breaker, content_of
from edgechat.process.child import Child
from edgechat.types import AnyEvent, AnyQuestion, Done, Ending, Failed, GenRequest, Loading, ModelInfo, Queued

PAUSES = (0.0, 0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # seconds before a start, by deaths in a row
HANG_S = 60.0  # without a letter while answers are open: each piece of work ends with one, and none takes that long
LAST_WORDS_S = 4.0  # seconds that a worker has to end by itself
STEADY = 60.0  # seconds of life after which a death counts as the first again

log = structlog.get_logger("worker")


class _Open:
    """An answer whose end has not come yet; and its events, one after the other."""

    def __init__(self, request: GenRequest | AnyQuestion) -> None:
        self.events: asyncio.Queue[AnyEvent] = asyncio.Queue()
        self.content = content_of(request)
        self.waits = False  # in the queue, so that the engine cannot have died of it
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AnyEvent:
        if self._over:
            raise StopAsyncIteration
        event = await self.events.get()
        self._over = isinstance(event, Ending)
        return event


class Worker:
    """One worker process, and the answers that are open in it."""

    def __init__(
        self, load: Load, changed: Callable[[], None] = lambda: None, check: Callable[[], None] = lambda: None
    ) -> None:
        """`changed` is called whenever `loading`, `ready`, `open` or `failure` is a new one.

        `check` is called in a thread before the process is started again: it raises what makes the model unservable.
        """
        self._load = load
        self._changed = changed
        self._check = check
        self._process: Child[AnyFromWorker] | None = None
        self._answers: dict[int, _Open] = {}
        self._ids = count(1)
        self._ready = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._stopping = False
        self._heard = 0.0  # when the last letter came, or when nobody waited for one
        self._stderr: deque[str] = deque(maxlen=20)
        self._ended_for: deaths.Cause | None = None  # why we ended the process ourselves
        self._breaker = Breaker()
        self._cores = load.threads
        self.loading: Loading | None = None
        self.info: ModelInfo | None = None
        self.failure: EdgechatError | None = None

    # ── life ──

    async def start(self) -> ModelInfo:
        """Start the process and wait until the model answers. Raises what makes the model unservable."""
        self._keeper = asyncio.create_task(self._keep())
        ready = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait({ready, self._keeper}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if not self._ready.is_set():
            await self._keeper
        if self.failure is not None:
            raise self.failure
        assert self.info is not None
        return self.info

    async def stop(self, last_words_s: float = LAST_WORDS_S) -> None:
        """End the process; running answers end with an error event.

        It gets a moment to copy what it keeps to disk.
        """
        self._stopping = True
        process = self._process
        if process is not None:
            process.hang_up()
            with suppress(TimeoutError):
                async with asyncio.timeout(last_words_s):
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
    def open(self) -> int:
        """Answers that the process has not ended yet."""
        return len(self._answers)

    @property
    def pid(self) -> int | None:
        """The process's id, while there is one."""
        return self._process.pid if self._process else None

    # ── answers ──

    @contextmanager
    def asked(self, request: GenRequest | AnyQuestion) -> Iterator[AsyncIterator[AnyEvent]]:
        """The events of one answer, as they come. Leaving the block before their end cancels it in the process.

        Raises NotReady while the process is away, RequestRefused for what ended it before.
        """
        if not self.ready:
            raise NotReady("the engine is starting again: try in a few seconds.")
        id, answer = next(self._ids), _Open(request)
        if wait := self._breaker.refused_s(answer.content, asyncio.get_running_loop().time()):
            raise RequestRefused(f"the engine died more than once over this request: it is refused for {wait:.0f} s.")
        self._answers[id] = answer
        self._changed()
        self._post(Generate(id, request) if isinstance(request, GenRequest) else Ask(id, request))
        try:
            yield answer
        finally:
            if id in self._answers:  # its end has not come: nobody reads it any more
                self._end(id)
                self._post(Cancel(id=id))

    def end_answers(self, told: Failed) -> None:
        """Every reader hears `told` now; the process stops working for them."""
        for answer in self._answers.values():
            answer.events.put_nowait(told)

    def forget(self, conversation: str) -> None:
        """Nothing of a deleted conversation stays in the engine's memory or among its kept prefixes."""
        self._post(Forget(conversation=conversation))

    def grant(self, cores: int) -> None:
        """Let the engine use at most `cores` threads from now on."""
        if cores != self._cores:
            self._cores = cores
            if self._ready.is_set():
                self._post(Cores(count=cores))

    def _end(self, id: int) -> None:
        del self._answers[id]
        self._changed()

    def _post(self, letter: AnyToWorker) -> None:
        """Write a letter without waiting: it must go out even while its sender is being cancelled."""
        if self._process is not None:
            self._process.post(letter)

    # ── the process ──

    async def _keep(self) -> None:
        """Run the process again and again, until its model turns out to be unservable."""
        deaths_in_a_row = 0
        while not (self.failure or self._stopping):
            await asyncio.sleep(PAUSES[min(deaths_in_a_row, len(PAUSES) - 1)])
            born = asyncio.get_running_loop().time()
            death = await self._run_once()
            lived = asyncio.get_running_loop().time() - born
            alone = lived > STEADY or not death.blames_request  # whoever killed it may do so as often as they like
            deaths_in_a_row = 1 if alone else deaths_in_a_row + 1
            if not (self.failure or self._stopping):
                words = list(self._stderr)[-3:]
                log.error("worker ended", cause=death.cause, status=death.status, after_s=round(lived, 1), words=words)
                self.failure = await self._checked() if self.info else death.while_loading()
        self._changed()

    async def _checked(self) -> EdgechatError | None:
        """What became of the model's bytes while it was loaded: what killed the process may be just that."""
        try:
            await asyncio.to_thread(self._check)
        except EdgechatError as error:
            return error
        return None

    async def _run_once(self) -> deaths.Death:
        """One life of the process, and how it ended. Every open answer hears of the end at once."""
        kills = deaths.kills_for_memory()
        self._ended_for = None
        self._stderr.clear()
        self._process = process = await Child.of(spare.take(), from_worker)
        listener = asyncio.create_task(self._listen(process))
        watch = asyncio.create_task(self._watch())
        try:
            self._post(self._load)
            await self._read(process)
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS_S):
                    await process.wait()
                    await listener
        finally:
            self._process = None
            self._ready.clear()
            process.kill()
            status = await process.wait()
            listener.cancel()
            watch.cancel()
            await asyncio.wait({listener, watch})
            process.close()
            more_kills = deaths.kills_for_memory() > kills
            cause: deaths.Cause | None = "stopped" if self._stopping else self._ended_for
            death = deaths.explain(status, cause, more_kills, list(self._stderr))
            self._fail_all(death)
        return death

    async def _read(self, process: Child[AnyFromWorker]) -> None:
        """Take in letters until there are no more, or one makes no sense."""
        try:
            while (letter := await process.receive()) is not None:
                self._take(letter)
        except msgspec.DecodeError:
            self._end_process("nonsense")

    def _take(self, letter: AnyFromWorker) -> None:
        self._heard = asyncio.get_running_loop().time()
        match letter:
            case Told(id=id, event=event):
                if answer := self._answers.get(id):
                    self._tell(id, answer, event)
                return
            case Alive():
                return
            case LoadProgress(event=event):
                self.loading = event
            case Ready(info=info):
                self.info, self.loading = info, None
                self._ready.set()
                if self._cores != self._load.threads:
                    self._post(Cores(count=self._cores))
            case LoadFailed(code=code, message=message):
                self.failure = from_code(code, message)
        self._changed()

    def _tell(self, id: int, answer: _Open, event: AnyEvent) -> None:
        answer.waits = isinstance(event, Queued) and event.position > 0
        answer.events.put_nowait(event)
        if isinstance(event, Done):
            self._breaker.answered(answer.content)
        if isinstance(event, Ending):
            self._end(id)

    async def _watch(self) -> None:
        """End a process that says nothing while somebody waits for it."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(min(1.0, HANG_S / 4))
            if not self._answers:
                self._heard = clock()
            elif clock() - self._heard > HANG_S:
                self._end_process("hang")
                return

    def _end_process(self, cause: deaths.Cause) -> None:
        self._ended_for = cause
        if self._process is not None:
            self._process.kill()

    async def _listen(self, process: Child[AnyFromWorker]) -> None:
        """Keep the process's last words; they name the cause when it dies."""
        async for line in process.words():
            self._stderr.append(line)
            log.debug("worker says", line=line)

    def _fail_all(self, death: deaths.Death) -> None:
        """Tell every reader; what was being answered is remembered."""
        answers, self._answers = self._answers, {}
        if death.blames_request:
            suspects = {answer.content for answer in answers.values() if not answer.waits}
            self._breaker.died(suspects, asyncio.get_running_loop().time())
        for answer in answers.values():
            answer.events.put_nowait(death.told())
        self._changed()
