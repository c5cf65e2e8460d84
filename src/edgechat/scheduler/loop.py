"""The one thread that calls the engine. Everyone else posts letters and gets letters.

letters in ─► queue ─► running ─► step ─► events out
   ▲                                 │
   └──────── between two steps ──────┘
"""

import queue
import time
from collections.abc import Callable
from typing import NamedTuple

from edgechat.engine.base import Engine, Sampler, Slice
from edgechat.errors import EdgechatError
from edgechat.scheduler.answer import Answer
from edgechat.scheduler.queue import Queue
from edgechat.types import AnyEvent, Cancel, Delta, Failed, GenRequest, Prefill, Queued

PREFILL_SLICE = 128  # prompt tokens per step: a cancelled reader waits no longer than one of these

Tell = Callable[[int, AnyEvent], None]


class Submit(NamedTuple):
    """A request whose prompt is ready."""

    id: int
    request: GenRequest
    prompt: list[int]


class Stop(NamedTuple):
    """End the loop."""


class Loop:
    """Runs answers on one engine, one at a time.

    What the engine still holds of the last conversation is not read again.
    """

    def __init__(self, engine: Engine, tell: Tell) -> None:
        self._engine = engine
        self._tell = tell
        self._letters: queue.SimpleQueue[Submit | Cancel | Stop] = queue.SimpleQueue()
        self._queue = Queue()
        self._running: Answer | None = None
        self._sampler: Sampler | None = None
        self._held: list[int] = []  # tokens whose positions the engine's sequence holds

    def post(self, letter: Submit | Cancel | Stop) -> None:
        """Hand in a letter; from any thread."""
        self._letters.put(letter)

    def run(self) -> None:
        """Serve until `Stop`. Call it in the thread that may call the engine."""
        while self._read_letters():
            if self._running is None:
                self._start_next()
            if self._running is not None:
                self._step(self._running)

    def _read_letters(self) -> bool:
        """Take in what was posted; sleep only while there is nothing else to do. False: stop."""
        idle = self._running is None and not len(self._queue)
        while True:
            try:
                letter = self._letters.get(block=idle)
            except queue.Empty:
                return True
            idle = False
            match letter:
                case Stop():
                    return False
                case Cancel(id=id):
                    self._cancel(id)
                case Submit():
                    self._accept(letter)

    def _accept(self, letter: Submit) -> None:
        answer = Answer(letter.id, letter.request, letter.prompt, time.monotonic())
        ahead = self._queue.push(answer) - (self._running is None)
        self._tell(answer.id, Queued(position=ahead, waiting=ahead))

    def _cancel(self, id: int) -> None:
        if self._running is not None and self._running.id == id:
            self._end()
        elif self._queue.remove(id):
            self._tell_places()

    def _tell_places(self) -> None:
        for place, answer in self._queue.places():
            self._tell(answer.id, Queued(position=place, waiting=len(self._queue)))

    def _start_next(self) -> None:
        answer = self._queue.pop()
        if answer is None:
            return
        # The last token is read in any case: its logits are what the first answer token is drawn from.
        cached = min(_common(self._held, answer.prompt), len(answer.prompt) - 1)
        self._engine.trim(0, cached)
        self._held = self._held[:cached]
        answer.start(cached, self._engine.tokenizer, time.monotonic())
        self._sampler = self._engine.sampler(answer.request.sampling)
        self._running = answer
        self._tell_places()

    def _step(self, answer: Answer) -> None:
        tokens = answer.next_tokens(min(PREFILL_SLICE, self._engine.max_batch))
        last = answer.done + len(tokens) >= len(answer.prompt)
        part = Slice(seq=0, start=answer.done, tokens=tokens, sampler=self._sampler if last else None)
        try:
            (token,) = self._engine.step([part])
        except EdgechatError as error:
            self._tell(answer.id, Failed(code=error.code, message=str(error)))
            self._forget()
            return
        answer.done += len(tokens)
        self._held.extend(tokens)
        if token is None:
            self._tell(answer.id, Prefill(done=answer.done, total=len(answer.prompt)))
        else:
            self._say(answer, token)

    def _say(self, answer: Answer, token: int) -> None:
        text, done = answer.say(token, self._engine.info.context, self._engine.tokenizer, time.monotonic())
        if text:
            self._tell(answer.id, Delta(text=text))
        if done is not None:
            self._tell(answer.id, done)
            self._end()

    def _end(self) -> None:
        if self._sampler is not None:
            self._sampler.close()
        self._running = self._sampler = None

    def _forget(self) -> None:
        """After a failed step nobody knows what the engine holds."""
        self._engine.trim(0, 0)
        self._held = []
        self._end()


def _common(a: list[int], b: list[int]) -> int:
    """Length of the longest common beginning."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
