"""Preprocessing: requests on their way in, made into prompts and grammars, so that a bad one is refused while others
are answered.

Generate ─► prompt ─► loop                      at once, in the thread that reads the letters
         └► prompt, grammar ─► loop             in a thread of its own: a grammar may take a while
Ask      ─► answer                              in another: a text may be long, and no request waits behind it
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from edgechat.errors import EdgechatError, failed_of
from edgechat.letters import Ask, Cancel, Generate
from edgechat.prompt.tokens import Prompter
from edgechat.scheduler.constrain import Constrainer, constrained
from edgechat.scheduler.loop import Loop, Submit, Tell

T = TypeVar("T")


def fatal(work: Callable[[T], None]) -> Callable[[T], None]:
    """`work`, but an exception that nobody expected ends the process: whoever waits hears of it, another is started.

    Left in its thread it would leave them waiting. For want of memory, even a traceback may be too much.
    """

    def working(letter: T) -> None:
        try:
            work(letter)
        except BaseException as error:
            os.write(2, f"{type(error).__name__} in the intake\n".encode())
            os._exit(1)

    return working


class Intake:
    """The door of one worker's loop."""

    def __init__(self, prompter: Prompter, constrainer: Constrainer, loop: Loop, tell: Tell) -> None:
        self._prompter = prompter
        self._constrainer = constrainer
        self._loop = loop
        self._tell = tell
        self._lock = threading.Lock()
        self._coming: set[int] = set()  # ids whose grammar is being made
        self._later = ThreadPoolExecutor(1, "grammars")
        self._aside = ThreadPoolExecutor(1, "questions")

    def take(self, letter: Generate) -> None:
        """Bring a request to the loop, or tell why not."""
        if not constrained(letter.request):
            self._loop_or_refuse(letter)
            return
        with self._lock:
            self._coming.add(letter.id)
        self._later.submit(fatal(self._loop_or_refuse), letter)

    def cancel(self, letter: Cancel) -> None:
        """Nobody reads the answer any more, wherever its request is now."""
        with self._lock:
            self._coming.discard(letter.id)
            self._loop.post(letter)

    def answer(self, letter: Ask) -> None:
        """Answer a question about tokens."""
        self._aside.submit(fatal(self._answer_or_refuse), letter)

    def _answer_or_refuse(self, letter: Ask) -> None:
        try:
            self._tell(letter.id, self._prompter.answer(letter.question))
        except EdgechatError as error:
            self._refuse(letter.id, error)

    def _refuse(self, id: int, error: EdgechatError) -> None:
        self._tell(id, failed_of(error))

    def _loop_or_refuse(self, letter: Generate) -> None:
        try:
            submit = self._prepared(letter)
        except EdgechatError as error:
            self._refuse(letter.id, error)
            return
        with self._lock:  # a cancel comes before, and nothing is posted, or after
            if letter.id in self._coming or not constrained(letter.request):
                self._loop.post(submit)
            self._coming.discard(letter.id)

    def _prepared(self, letter: Generate) -> Submit:
        prompt = self._prompter.prepare(letter.request)
        grammar = self._constrainer.grammar(letter.request, prompt.thinks, prompt.may_think, prompt.form)
        return Submit(letter.id, letter.request, prompt, grammar)
