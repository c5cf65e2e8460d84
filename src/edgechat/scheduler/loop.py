"""Continuous batching: the one thread that calls the engine. Everyone else posts letters and gets letters.

    letters in ─► queue ─► seats ─► plan ─► step ─► events out
       ▲                                     │
       └──────────── between two steps ──────┘

One step is one batch: a token of every chosen writer, then slices of prompts, as large as pace.py allows.
"""

import queue
import time
from collections.abc import Callable
from typing import NamedTuple

from edgechat import machine
from edgechat.engine.base import Engine, Sampler, Slice
from edgechat.errors import ContextLengthExceeded, EdgechatError, QueueFull
from edgechat.letters import Cancel, Cores, Forget
from edgechat.prompt.tokens import Prepared
from edgechat.scheduler.answer import Answer
from edgechat.scheduler.constrain import Grammar
from edgechat.scheduler.fair import FairQueue
from edgechat.scheduler.pace import Pace
from edgechat.scheduler.plan import Part, plan
from edgechat.scheduler.pool import Pool
from edgechat.scheduler.rate import Rate
from edgechat.scheduler.shelf import Shelf
from edgechat.scheduler.threads import Threads
from edgechat.types import AnyEvent, Done, Failed, GenRequest, Prefill, Queued

RUNNING = 16  # answers that have a seat at once
MOST_OF_ONE = 12  # of them, one client's: the next client finds a seat at once
LOOK_ROUND = 8  # short steps from one look for idle cores to the next
IDLE_S = 0.5  # seconds without work, after which kept prefixes are copied to the shelf

Tell = Callable[[int, AnyEvent], None]


class Submit(NamedTuple):
    """A request whose prompt is ready. Its client is charged the seconds `spent` on its pictures."""

    id: int
    request: GenRequest
    prompt: Prepared
    grammar: Grammar | None = None
    spent: float = 0.0


class Stop(NamedTuple):
    """End the loop, with all kept prefixes on the shelf."""


Letter = Submit | Cancel | Forget | Cores | Stop


class Loop:
    """Runs answers on one engine, many at a time."""

    def __init__(
        self,
        engine: Engine,
        tell: Tell,
        limit: int = 64,
        shelf: Shelf | None = None,
        threads: Threads | None = None,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        """At most `limit` answers wait. `alive` is called after every step: of many there is nothing to tell."""
        self._engine = engine
        self._tell = tell
        self._alive = alive
        self._letters: queue.SimpleQueue[Letter] = queue.SimpleQueue()
        self._queue = FairQueue(limit)
        self._pool = Pool(engine, shelf)
        self._pace = Pace(engine.max_batch)
        self._rate = Rate()
        self._seats = min(RUNNING, engine.sequences)
        self._threads = threads or Threads(engine.info.threads)
        self._running: dict[int, Answer] = {}
        self._samplers: dict[int, Sampler] = {}
        self._idleness = machine.Idleness()
        self._steps = 0
        self._stopped = False

    def post(self, letter: Letter) -> None:
        """Hand in a letter; from any thread."""
        self._letters.put(letter)

    @property
    def spare_threads(self) -> int:
        """Threads for work beside the steps: one while anybody is answered. From any thread."""
        return 1 if self._running else self._threads.most

    def run(self) -> None:
        """Serve until `Stop`. Call it in the thread that may call the engine."""
        while not self._stopped:
            try:
                self._read_letters()
                self._seat()
                if self._running:
                    self._step()
            except EdgechatError as error:
                self._fail_all(error)
        while self._pool.shelve_one():
            pass

    # ── letters ──

    def _read_letters(self) -> None:
        """Take in what was posted; wait only while there is nothing else to do."""
        letter = self._wait() if not self._running and not len(self._queue) else self._next()
        while letter is not None:
            match letter:
                case Stop():
                    self._stopped = True
                    return
                case Cancel(id=id):
                    self._cancel(id)
                case Forget(conversation=conversation):
                    self._pool.forget(conversation)
                case Cores(count=count):
                    self._threads.limit(count)
                case Submit():
                    self._accept(letter)
            letter = self._next()

    def _next(self) -> Letter | None:
        try:
            return self._letters.get_nowait()
        except queue.Empty:
            return None

    def _wait(self) -> Letter:
        """The next letter. Idle time is used to copy what is kept to the shelf."""
        unshelved = True
        while unshelved:
            try:
                return self._letters.get(timeout=IDLE_S)
            except queue.Empty:
                unshelved = self._pool.shelve_one()
        return self._letters.get()

    def _accept(self, letter: Submit) -> None:
        tokenizer, now = self._engine.tokenizer, time.monotonic()
        answer = Answer(letter.id, letter.request, letter.prompt, tokenizer, now, letter.grammar)
        if not self._queue.try_push(answer):
            wait = self._rate.wait(1) or 1.0
            message = f"{self._queue.limit} requests wait already: try again in {wait:.0f} s."
            self._tell(answer.id, Failed(QueueFull.code, message, retry_after_s=wait))
            return
        self._queue.charge(answer.client, self._pace.tokens(letter.spent))
        ahead = max(0, len(self._running) + len(self._queue) - self._seats)
        self._tell(answer.id, Queued(ahead, ahead, self._rate.wait(ahead)))

    def _cancel(self, id: int) -> None:
        if id in self._running:
            self._close(self._running[id], keep=True)
            return
        for answer in self._queue.order(0):
            if answer.id == id:
                self._queue.remove(answer)
                self._samplers.pop(answer.id, None)
                self._tell_places()
                return

    def _tell_places(self) -> None:
        waiting = list(self._queue.order(time.monotonic()))
        for place, answer in enumerate(waiting, 1):
            self._tell(answer.id, Queued(place, len(waiting), self._rate.wait(place)))

    # ── seats ──

    def _seat(self) -> None:
        """Give the next ones in turn a seat, while there is room."""
        seated = False
        while len(self._queue) and len(self._running) < self._seats:
            now = time.monotonic()
            answer = self._queue.pop(now, lambda one: self._queue.running(one.client) < MOST_OF_ONE)
            if answer is None:
                break
            promised = sum(len(one.tokens) - one.done for one in self._running.values())
            self._running[answer.id] = answer  # whatever fails from here on, its reader hears of it
            if not self._pool.seat(answer, promised, now):
                del self._running[answer.id]
                self._queue.push_back(answer)
                if not self._running:
                    self._refuse(answer)
                    continue
                break
            if answer.id not in self._samplers:
                wanted = answer.request
                self._samplers[answer.id] = self._engine.sampler(wanted.sampling, answer.grammar, wanted.logprobs)
            seated = True
        if seated and len(self._queue):
            self._tell_places()

    def _refuse(self, answer: Answer) -> None:
        """Even alone it does not fit: the cells are fewer than the conversation."""
        self._queue.remove(answer)
        message = f"the conversation has {len(answer.tokens)} tokens, and memory holds {self._pool.cells} here."
        self._tell(answer.id, Failed(ContextLengthExceeded.code, message, "messages"))

    def _yield_seat(self) -> bool:
        """The youngest background answer, else the youngest, goes back to the queue; False if only one is left."""
        if len(self._running) < 2:
            return False
        youngest = max(self._running.values(), key=lambda one: (one.background, one.arrived))
        self._pool.keep(youngest)
        del self._running[youngest.id]
        self._queue.push_back(youngest)
        return True

    # ── steps ──

    def _step(self) -> None:
        parts = self._plan()
        while not self._pool.room(sum(len(part.tokens) for part in parts)):
            if not self._yield_seat():
                self._end_for_lack_of_room()
                return
            parts = self._plan()
        writers = sum(not part.answer.prefilling for part in parts)
        prompt = sum(len(part.tokens) for part in parts) - writers
        slices = [self._slice(part) for part in parts]
        threads = self._threads.prefill if prompt else self._threads.count
        self._engine.set_threads(threads)
        started, spent = time.monotonic(), time.process_time()
        drawn = self._engine.step(slices)
        self._steps += 1
        now = time.monotonic()
        seconds = max(now - started, 1e-9)
        share = (time.process_time() - spent) / (seconds * threads)
        self._pace.measured(writers, prompt, seconds)
        if prompt:
            self._threads.read(prompt, share)
        else:
            self._threads.measured(writers, seconds, share)
        if self._threads.short and (prompt or self._steps % LOOK_ROUND == 0):
            self._threads.idle(self._idleness.cores())
        for part, token in zip(parts, drawn, strict=True):
            self._advance(part, token, now)
        self._alive()

    def _plan(self) -> list[Part]:
        running, now = list(self._running.values()), time.monotonic()
        return plan(running, self._queue, self._pace, self._engine.max_batch, self._steps, now)

    def _slice(self, part: Part) -> Slice:
        answer = part.answer
        last = answer.done + len(part.tokens) == len(answer.tokens)
        sampler = self._samplers[answer.id] if last else None
        return Slice(answer.seq, answer.done, part.tokens, sampler, answer.glance)

    def _advance(self, part: Part, token: int | None, now: float) -> None:
        answer = part.answer
        was_prefilling = answer.prefilling
        self._pool.grew(answer, len(part.tokens))
        if answer.arrived_at_place():
            self._pool.checkpoint(answer)
        self._queue.charge(answer.client, len(part.tokens))
        if was_prefilling and answer.said == 0:
            self._tell(answer.id, Prefill(answer.done, answer.asked, answer.cached))
        if token is None:
            return
        said = answer.say(token, self._engine.info.context, now, self._samplers[answer.id].scored)
        for event in said:
            self._tell(answer.id, event)
        if said and isinstance(said[-1], Done | Failed):
            self._rate.finished(now)
            self._close(answer, keep=True)

    # ── ends ──

    def _close(self, answer: Answer, keep: bool) -> None:
        del self._running[answer.id]
        self._samplers.pop(answer.id, None)
        self._queue.left(answer)
        if keep and answer.done:
            self._pool.keep(answer)
        else:
            self._pool.leave(answer)

    def _end_for_lack_of_room(self) -> None:
        (answer,) = self._running.values()
        message = f"memory for {self._pool.cells} tokens is used up by this conversation."
        self._tell(answer.id, Failed(ContextLengthExceeded.code, message, "messages"))
        self._close(answer, keep=False)

    def _fail_all(self, error: EdgechatError) -> None:
        """A step failed, or the engine does not move cells as asked: nobody knows what it holds."""
        for answer in list(self._running.values()):
            self._tell(answer.id, Failed(code=error.code, message=str(error)))
            del self._running[answer.id]
            self._samplers.pop(answer.id, None)
            self._queue.left(answer)
        self._pool.clear()
