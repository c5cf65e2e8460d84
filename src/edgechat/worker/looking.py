"""Looking (multimodal encoding), the worker's side: pictures go to a child of its own, what a model reads comes back.

    request ─► its pictures ─► known? ─► sights ─► prompt                 one after the other, each client in turn
                                 └ no ─► senses.py: decode ─► encode      progress, to whoever waits; a stop, from them
                                                      └ these pixels are known: a stop

The child is started when the first picture comes, and again when it died: a picture that it died of is refused. What
strangers sent is decoded there and nowhere else, beside no model's memory.
"""

import os
import select
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from itertools import count
from typing import NamedTuple

import msgspec

from edgechat.errors import EngineFailed, InvalidMedia, from_code
from edgechat.process import frames
from edgechat.process.spawn import spawn
from edgechat.prompt.sight import LEAST, MOST, SHARPEST, Sight
from edgechat.types import GenRequest, Struct

MODULE = "edgechat.worker.senses"
HANG_S = 60.0  # without a word from the child, which tells how far it is several times a second
KILLERS = 256  # pictures that the child died of, as many as are remembered

Progress = Callable[[float | None], None]  # how much of a picture is encoded, from 0 to 1
Known = Callable[[str], Sight | None]  # what was seen before, by the hash of its scaled pixels


class ToSenses(Struct, frozen=True, tag=True):
    """A letter to the child."""


class Open(ToSenses, frozen=True):
    """The first one: whose eyes it has. `digest` tells `projector` from others, `patch` is as of a ModelInfo."""

    engine: str
    model: str
    projector: str
    digest: str
    patch: int = 0


class See(ToSenses, frozen=True):
    """Decode and encode a picture, as at most `tokens`, on `threads`."""

    id: int
    data: bytes
    threads: int
    tokens: int


class Stop(ToSenses, frozen=True):
    """Nobody waits for the picture `id` any more."""

    id: int


class FromSenses(Struct, frozen=True, tag=True):
    """A letter from the child."""


class Decoded(FromSenses, frozen=True):
    """These are its pixels, scaled: their SHA-256."""

    pixels: str


class Encoding(FromSenses, frozen=True):
    """So much of the picture is done, from 0 to 1; None where nobody knows."""

    share: float | None


class Seen(FromSenses, frozen=True):
    """The picture as the model reads it; None where it was stopped."""

    sight: Sight | None


class Unseen(FromSenses, frozen=True):
    """It cannot be seen. `code` is one of errors.py."""

    code: str
    message: str


AnyToSenses = Open | See | Stop
AnyFromSenses = Decoded | Encoding | Seen | Unseen

to_senses: msgspec.msgpack.Decoder[AnyToSenses] = msgspec.msgpack.Decoder(AnyToSenses)
from_senses: msgspec.msgpack.Decoder[AnyFromSenses] = msgspec.msgpack.Decoder(AnyFromSenses)


class Picture(NamedTuple):
    """A picture that was looked at. `pixels` is the SHA-256 of them, scaled; `known`: its sight had been kept."""

    pixels: str
    sight: Sight
    known: bool


def pictures_of(request: GenRequest) -> dict[str, int]:
    """How many tokens each picture in the messages may take at most, by its SHA-256."""
    parts = (part for message in request.messages for part in message.attachments if part.kind == "picture")
    return {part.sha256: max(LEAST, min(request.picture_tokens.get(part.sha256, MOST), SHARPEST)) for part in parts}


class Looker:
    """The child that sees, and what it saw. `look` is called by one thread, `stop` by any."""

    def __init__(self, opening: Open, threads: Callable[[], int]) -> None:
        """`threads`: how many a picture may have that is encoded now."""
        self._opening = opening
        self._threads = threads
        self._child: _Child | None = None
        self._killers: dict[str, None] = {}
        self._lock = threading.Lock()
        self._looking: tuple[int, int] | None = None  # whose picture is with the child, and its number there
        self._numbers = count(1)

    def look(
        self,
        id: int,
        digest: str,
        data: bytes | None,
        progress: Progress,
        known: Known = lambda _: None,
        tokens: int = MOST,
    ) -> Picture | None:
        """The picture of request `id` with that SHA-256, as at most so many `tokens`; None where it was stopped
        meanwhile. What is `known` is not encoded.

        Raises InvalidMedia for what is no picture, EngineFailed where it is not there or the child died of it.
        """
        if data is None or sha256(data).hexdigest() != digest:
            raise EngineFailed(f"the bytes of the picture {digest[:12]} did not come with the request.")
        if digest in self._killers:
            raise InvalidMedia("this picture ended the process that reads pictures before: it is refused.")
        number = next(self._numbers)
        with self._lock:
            self._looking = id, number
            if self._child is None or not self._child.alive:
                self._child = _Child(self._opening)
            child = self._child
        try:
            return child.see(See(number, data, self._threads(), tokens), progress, known)
        except EOFError:
            self._killers[digest] = None
            while len(self._killers) > KILLERS:
                del self._killers[next(iter(self._killers))]
            raise InvalidMedia("the process that reads pictures ended over this one: it is refused.") from None
        finally:
            with self._lock:
                self._looking = None

    def stop(self, id: int) -> None:
        """Nobody waits for the pictures of request `id` any more: if one is being encoded, that ends at once."""
        with self._lock:
            if self._looking is not None and self._looking[0] == id and self._child is not None:
                self._child.post(Stop(self._looking[1]))

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.end()


class _Child:
    """One life of the child."""

    def __init__(self, opening: Open) -> None:
        # It ends with the worker's own session.
        self._process = spawn(MODULE, stderr=subprocess.DEVNULL, own_session=False)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin = self._process.stdin
        self._answers = os.fdopen(os.dup(self._process.stdout.fileno()), "rb", buffering=0)
        self._lock = threading.Lock()
        self.post(opening)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def post(self, letter: AnyToSenses) -> None:
        with self._lock, suppress(OSError):  # it has ended: whoever waits for it hears that
            self._stdin.write(frames.pack(letter))
            self._stdin.flush()

    def see(self, letter: See, progress: Progress, known: Known) -> Picture | None:
        """What became of the picture. Raises EOFError where the child ended, and what the child says of it."""
        self.post(letter)
        pixels, kept = "", None
        while True:
            if not select.select([self._answers], [], [], HANG_S)[0]:
                self.end()
            told = frames.read(self._answers, from_senses)
            match told:
                case None:
                    self.end()
                    raise EOFError
                case Decoded(pixels=pixels):
                    if (kept := known(pixels)) is not None:
                        self.post(Stop(letter.id))
                case Encoding(share=share):
                    progress(share)
                case Seen() if kept is not None:
                    return Picture(pixels, kept, True)
                case Seen(sight=sight):
                    return None if sight is None else Picture(pixels, sight, False)
                case Unseen(code=code, message=message):
                    raise from_code(code, message)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._answers.close()
        for pipe in (self._process.stdout, self._stdin):
            if pipe is not None:
                with suppress(OSError):  # what it did not read any more
                    pipe.close()
