"""The process that sees (sandboxing): strangers' pictures in on stdin, views out on stdout, nothing worth stealing.

    listener   stdin ─► letters, stops       ends the process when the worker does
    main       picture ─► pixels ─► projector ─► sight

It is a little nicer than the worker: whoever is being answered goes first.
"""

import os
import time
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

from edgechat import machine, registry
from edgechat.engine.base import Eyes, digest_of
from edgechat.errors import EdgechatError, EngineFailed
from edgechat.media.picture import Cap, decode
from edgechat.process.parent import Parent
from edgechat.worker.looking import AnyToSenses, Decoded, Encoding, Open, See, Seen, Stop, Unseen, to_senses

NICE = 5  # a third of the share of a worker's thread, on the same core
EVERY_S = 0.1  # from one word on progress to the next
CELL = 32  # pixels on a side of a token, where nobody knows
ROOM = 1 << 30  # bytes that decoding may take beside the projector


class Child:
    """The letters of the worker, and which of them is stopped."""

    def __init__(self, parent: Parent[AnyToSenses]) -> None:
        self._parent = parent
        self.patch = 0
        self.mail: SimpleQueue[Open | See] = SimpleQueue()
        self._stopped = 0  # the id that nobody waits for
        self._seeing = 0
        self._told = 0.0

    def take(self, letter: AnyToSenses) -> None:
        """Called by the thread that listens."""
        if isinstance(letter, Stop):
            self._stopped = letter.id
        else:
            self.mail.put(letter)

    def see(self, letter: See, eyes: Eyes) -> Seen:
        """Decode and encode. Raises what refuses it."""
        self._seeing = letter.id
        cap = Cap(pixels=letter.tokens * (self.patch or CELL) ** 2, cell=self.patch or 1)
        pixels = decode(letter.data, cap)
        self._parent.send(Decoded(digest_of(pixels)))
        self._told = time.monotonic()
        return Seen(eyes.see(pixels, letter.threads, self._goes_on))

    def _goes_on(self, share: float | None) -> bool:
        now = time.monotonic()
        if now - self._told > EVERY_S:
            self._told = now
            self._parent.send(Encoding(share))
        return self._stopped != self._seeing


def main() -> None:
    """Serve letters until the worker goes."""
    parent = Parent(to_senses)
    with suppress(OSError):
        os.nice(NICE)
    child = Child(parent)
    parent.listen(child.take)
    opening = child.mail.get()
    assert isinstance(opening, Open)
    child.patch = opening.patch
    eyes: Eyes | None = None
    while True:
        letter = child.mail.get()
        assert isinstance(letter, See)
        try:
            eyes = eyes or _eyes(opening)
            parent.send(child.see(letter, eyes))
        except EdgechatError as error:
            parent.send(Unseen(error.code, str(error)))
        except MemoryError:
            parent.send(Unseen(EngineFailed.code, "there is not enough memory to read this picture."))


def _eyes(opening: Open) -> Eyes:
    make = registry.load(registry.EYES, opening.engine, "engine")
    eyes: Eyes = make(Path(opening.model), Path(opening.projector), opening.digest)
    with suppress(OSError, ValueError):  # a system may know no such limit
        machine.limit_memory(ROOM)
    return eyes


if __name__ == "__main__":
    main()
