"""The worker process: letters in on stdin, letters out on stdout, one model, two threads.

    reader thread   stdin ─► intake (prompt, grammar) ─► loop's letters         ends the process when stdin ends
    main thread     loop: engine steps ─► stdout              (a model that embeds: vectors.py)

Started by spare.py as `python -m edgechat.worker.main [ENGINE]`, with the engine that will likely be wanted.
"""

import hashlib
import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO

import msgspec

from edgechat import letters, registry
from edgechat.engine.base import Engine
from edgechat.errors import EdgechatError, EngineFailed
from edgechat.letters import (
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
)
from edgechat.prompt.template import CHATML, Template
from edgechat.prompt.tokens import Prompter
from edgechat.scheduler.constrain import Constrainer
from edgechat.scheduler.loop import Loop, Stop
from edgechat.scheduler.shelf import Shelf
from edgechat.scheduler.threads import Threads
from edgechat.types import AnyEvent, Loading, ModelInfo
from edgechat.worker import vectors
from edgechat.worker.intake import Intake, fatal
from edgechat.worker.trial import Candidate, Trial

LAST_WORDS_S = 3.0  # for copying what is kept to disk when the server has gone


class Post:
    """The way out. Any thread may send."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, letter: AnyFromWorker) -> None:
        """Write one letter; a server that is gone ends the process."""
        try:
            with self._lock:
                self._stream.write(letters.pack(letter))
                self._stream.flush()
        except OSError:
            os._exit(0)

    def tell(self, id: int, event: AnyEvent) -> None:
        """Send an event of answer `id`."""
        self.send(Told(id=id, event=event))


def _read(stream: BinaryIO) -> AnyToWorker | None:
    """The next letter, or None when the server has closed its end."""
    head = stream.read(letters.LENGTH.size)
    if len(head) < letters.LENGTH.size:
        return None
    return letters.to_worker.decode(stream.read(letters.LENGTH.unpack(head)[0]))


def _serve_letters(intake: Intake, loop: Loop, stream: BinaryIO) -> None:
    """Read until the server goes."""
    while (letter := _read(stream)) is not None:
        match letter:
            case Generate():
                intake.take(letter)
            case Ask():
                intake.answer(letter)
            case Cancel():
                intake.cancel(letter)
            case Forget() | Cores():
                loop.post(letter)
            case Load():
                raise AssertionError("a worker loads once")
    loop.post(Stop())
    time.sleep(LAST_WORDS_S)  # the loop ends the process before that, unless the engine hangs
    os._exit(0)


def _load(letter: Load, post: Post) -> tuple[Engine, Prompter]:
    """The engine, and a prompter whose template was tried."""

    def progress(event: Loading) -> None:
        post.send(LoadProgress(event=event))

    make = registry.load(registry.ENGINES, letter.engine, "engine")
    measured = {"ubatch": letter.ubatch or None, "flash": None if letter.flash else False}
    fitted = {name: value for name, value in measured.items() if value is not None}  # only for an engine that is tuned
    with Trial() as trial:  # it gets ready while the model is read
        engine: Engine = make(Path(letter.path), letter.context, letter.memory, letter.threads, progress, **fitted)
        names = {id: text for text, id in engine.tokenizer.specials.items()}
        bos = names.get(engine.tokenizer.bos, "") if engine.tokenizer.bos is not None else ""
        source = engine.template or CHATML
        trial.of(Candidate(source, bos))
    return engine, Prompter(Template(source, bos), engine.tokenizer, engine.info.context)


def _prepare(engine: str = "") -> None:
    """Import what `engine` needs while the first letter is on its way. What cannot be imported is told when it is."""
    with suppress(Exception):
        if engine:
            registry.load(registry.ENGINES, engine, "engine")
            importlib.import_module("numpy")


def main() -> None:
    """Serve letters until the server closes stdin."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's business
    source, post = sys.stdin.buffer, Post(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)  # whatever a library prints goes to the log, not between the letters
    threading.Thread(target=_prepare, args=sys.argv[1:], daemon=True).start()
    first = _read(source)
    if not isinstance(first, Load):
        os._exit(0)
    try:
        serve = _embedding(first, source, post) if vectors.embeds(first) else _answering(first, source, post)
    except EdgechatError as error:
        post.send(LoadFailed(code=error.code, message=str(error)))
        return
    except Exception as error:  # the file is foreign: whatever it broke is told, not thrown
        post.send(LoadFailed(code=EngineFailed.code, message=f"the model could not be loaded: {error!r}"))
        return
    serve()
    os._exit(0)


def _fetch(stream: BinaryIO, mail: "SimpleQueue[AnyToWorker | None]") -> None:
    """Put every letter, and the end, where it waits for its turn."""
    letter: AnyToWorker | None = None
    while (letter := _read(stream)) is not None:
        mail.put(letter)
    mail.put(None)


def _embedding(first: Load, source: BinaryIO, post: Post) -> Callable[[], None]:
    """Load a model that gives vectors; the result serves it until the server goes."""
    embedder = vectors.load(first, lambda event: post.send(LoadProgress(event=event)))

    def serve() -> None:
        mail: SimpleQueue[AnyToWorker | None] = SimpleQueue()
        threading.Thread(target=_fetch, args=(source, mail), daemon=True).start()
        post.send(Ready(info=embedder.info))
        vectors.serve(embedder, mail, post.tell)

    return serve


def _answering(first: Load, source: BinaryIO, post: Post) -> Callable[[], None]:
    """Load a model that answers; the result serves it until the server goes."""
    engine, prompter = _load(first, post)

    def serve() -> None:
        shelf = _shelf(first, engine)
        threads = Threads(engine.info.threads, first.decode_threads, first.prefill_threads)
        loop = Loop(engine, post.tell, first.queue, shelf, threads)
        intake = Intake(prompter, Constrainer(engine.tokenizer), loop, post.tell)
        reader = fatal(partial(_serve_letters, intake, loop))
        threading.Thread(target=reader, args=(source,), daemon=True).start()
        post.send(Ready(info=_described(engine, prompter.template)))
        importlib.import_module("numpy")  # a fifth of a second that the start need not wait for, nor an answer
        loop.run()
        if shelf is not None:
            shelf.close()

    return serve


def _described(engine: Engine, template: Template) -> ModelInfo:
    """What the model turned out to be, its template's abilities included."""
    thinking = {"thinks": template.thinks, "thinking_switch": template.thinking_switch}
    return msgspec.structs.replace(engine.info, **thinking)


def _shelf(load: Load, engine: Engine) -> Shelf | None:
    """The place for prefixes that outlive the process, unless there is none or it cannot be had."""
    if not load.shelf or not load.shelf_bytes:
        return None
    fingerprint = hashlib.sha256(f"{load.digest} {engine.info.engine} f16".encode()).hexdigest()
    try:
        return Shelf(Path(load.shelf), load.shelf_bytes, fingerprint)
    except OSError as error:
        print(f"no prefixes are kept on disk: {load.shelf}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return None


if __name__ == "__main__":
    main()
