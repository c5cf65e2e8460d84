"""A child's side of its pipes: letters in on stdin, letters out on stdout, and no life after its parent.

stdin  ─► read, listen         its end is the parent's: the child ends with all that it started
stdout ◄─ send                 what libraries print goes to stderr instead
"""

import os
import signal
import threading
from collections.abc import Callable
from typing import Generic, NoReturn, TypeVar

import msgspec

from edgechat.process import frames

T = TypeVar("T")


class Parent(Generic[T]):
    """Who started this process. Made once, before anything else: from then on, stdin and stdout are for letters."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[T]) -> None:
        """`decoder` knows the parent's letters."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
        self._decoder = decoder
        self._letters = os.fdopen(os.dup(0), "rb", buffering=0)  # no buffer whose lock a thread holds at the end
        self._answers = os.fdopen(os.dup(1), "wb")
        self._lock = threading.Lock()
        os.dup2(2, 1)

    def read(self) -> T | None:
        """The next letter, waited for; None when the parent has closed its end. Raises DecodeError."""
        return frames.read(self._letters, self._decoder)

    def send(self, letter: msgspec.Struct) -> None:
        """Write one letter, from any thread; a parent that is gone ends the process."""
        try:
            with self._lock:
                self._answers.write(frames.pack(letter))
                self._answers.flush()
        except OSError:
            os._exit(0)

    def listen(self, take: Callable[[T], None]) -> None:
        """Hand every letter from now on to `take`, in a thread; when the parent goes, end at once, whatever is done."""
        threading.Thread(target=self._listen, args=(take,), daemon=True).start()

    def _listen(self, take: Callable[[T], None]) -> None:
        try:
            while (letter := self.read()) is not None:
                take(letter)
        finally:
            _end()


def _end() -> NoReturn:
    if os.getpgrp() == os.getpid():  # a group of our own: what was started here is in it
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)
