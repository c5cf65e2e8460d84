"""The worker process: letters in on stdin, letters out on stdout, one model, two threads.

    reader thread   stdin ─► intake (prompt, grammar) ─► loop's letters         ends the process when stdin ends
    main thread     loop: engine steps ─► stdout              (a model that embeds: vectors.py)

Started by spare.py as `python -m edgechat.worker.main [ENGINE]`, with the engine that will likely be wanted.
"""

import hashlib
import importlib
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import msgspec

from edgechat import registry
from edgechat.engine.base import Engine
from edgechat.errors import EdgechatError, EngineFailed
from edgechat.letters import (
    Alive,
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
    to_worker,
)
from edgechat.process.parent import Parent
from edgechat.prompt.senses import with_eyes
from edgechat.prompt.template import CHATML, Template
from edgechat.prompt.tokens import Prompter
from edgechat.scheduler.constrain import Constrainer
from edgechat.scheduler.loop import Loop, Stop
from edgechat.scheduler.shelf import Shelf
from edgechat.scheduler.threads import Threads
from edgechat.types import AnyEvent, Loading, ModelInfo
from edgechat.worker import vectors
from edgechat.worker.album import SHARE, Album, on_disk
from edgechat.worker.intake import Intake, fatal
from edgechat.worker.looking import Looker, Open
from edgechat.worker.trial import Candidate, Trial

HEARTBEAT_S = 1.0  # without a letter, after which work that goes on is told
LAST_WORDS_S = 3.0  # for copying what is kept to disk when the server has gone


class Server(Parent[AnyToWorker]):
    """Who started this worker."""

    _sent = 0.0

    def send(self, letter: msgspec.Struct) -> None:
        super().send(letter)
        self._sent = time.monotonic()

    def tell(self, id: int, event: AnyEvent) -> None:
        """Send an event of answer `id`."""
        self.send(Told(id=id, event=event))

    def alive(self) -> None:
        """A bounded piece of work is done, from any thread: who works is never taken for one that hangs."""
        if time.monotonic() - self._sent > HEARTBEAT_S:
            self.send(Alive())


def _serve_letters(intake: Intake, loop: Loop, server: Server) -> None:
    """Read until the server goes."""
    while (letter := server.read()) is not None:
        match letter:
            case Generate():
                intake.take(letter)
            case Ask():
                intake.answer(letter)
            case Cancel():
                intake.cancel(letter)
            case Forget():
                intake.forget(letter)
            case Cores():
                loop.post(letter)
            case Load():
                raise AssertionError("a worker loads once")
    loop.post(Stop())
    time.sleep(LAST_WORDS_S)  # the loop ends the process before that, unless the engine hangs
    os._exit(0)


def _load(letter: Load, server: Server) -> tuple[Engine, Prompter]:
    """The engine, and a prompter whose template was tried."""

    def progress(event: Loading) -> None:
        server.send(LoadProgress(event=event))

    make = registry.load(registry.ENGINES, letter.engine, "engine")
    measured = {"ubatch": letter.ubatch or None, "flash": None if letter.flash else False}
    fitted = {name: value for name, value in measured.items() if value is not None}  # only for an engine that is tuned
    with Trial() as trial:  # it gets ready while the model is read
        memory = letter.memory and max(1, letter.memory - letter.projector_bytes)
        engine: Engine = make(Path(letter.path), letter.context, memory, letter.threads, progress, **fitted)
        names = {id: text for text, id in engine.tokenizer.specials.items()}
        bos = names.get(engine.tokenizer.bos, "") if engine.tokenizer.bos is not None else ""
        source = engine.template or CHATML
        trial.of(Candidate(source, bos))
    if letter.projector:
        engine.info = with_eyes(engine.info, letter.projector_bytes, letter.projector_patch)
    info = engine.info
    return engine, Prompter(Template(source, bos), engine.tokenizer, info.context, letter.thinking, info.senses)


def _prepare(engine: str = "") -> None:
    """Import what `engine` needs while the first letter is on its way. What cannot be imported is told when it is."""
    with suppress(Exception):
        if engine:
            registry.load(registry.ENGINES, engine, "engine")
            importlib.import_module("numpy")


def main() -> None:
    """Serve letters until the server closes stdin."""
    server = Server(to_worker)
    threading.Thread(target=_prepare, args=sys.argv[1:], daemon=True).start()
    first = server.read()
    if not isinstance(first, Load):
        os._exit(0)
    try:
        serve = _embedding(first, server) if vectors.embeds(first) else _answering(first, server)
    except EdgechatError as error:
        server.send(LoadFailed(code=error.code, message=str(error)))
        return
    except Exception as error:  # the file is foreign: whatever it broke is told, not thrown
        server.send(LoadFailed(code=EngineFailed.code, message=_unforeseen(error)))
        return
    serve()
    os._exit(0)


def _unforeseen(error: Exception) -> str:
    """Why nothing was loaded. After an update by git alone, the engine that is installed is still the one before."""
    if isinstance(error, AttributeError | ImportError) and "edgechat_engine" in str(error):
        return (
            "the engine that is installed is not this edgechat's: run `make setup` in its folder, and start it again."
        )
    return f"the model could not be loaded: {error!r}"


def _fetch(server: Server, mail: "SimpleQueue[AnyToWorker | None]") -> None:
    """Put every letter, and the end, where it waits for its turn."""
    letter: AnyToWorker | None = None
    while (letter := server.read()) is not None:
        mail.put(letter)
    mail.put(None)


def _embedding(first: Load, server: Server) -> Callable[[], None]:
    """Load a model that gives vectors; the result serves it until the server goes."""
    embedder = vectors.load(first, lambda event: server.send(LoadProgress(event=event)))

    def serve() -> None:
        mail: SimpleQueue[AnyToWorker | None] = SimpleQueue()
        threading.Thread(target=_fetch, args=(server, mail), daemon=True).start()
        server.send(Ready(info=embedder.info))
        vectors.serve(embedder, mail, server.tell)

    return serve


def _answering(first: Load, server: Server) -> Callable[[], None]:
    """Load a model that answers; the result serves it until the server goes."""
    engine, prompter = _load(first, server)

    def serve() -> None:
        shelf = _shelf(first, engine, server.alive)
        threads = Threads(engine.info.threads, first.decode_threads, first.prefill_threads)
        loop = Loop(engine, server.tell, first.queue, shelf, threads, server.alive)
        looker = _looker(first, engine, loop)
        intake = Intake(prompter, Constrainer(engine.tokenizer), loop, server.tell, looker, _album(first, engine))
        reader = fatal(partial(_serve_letters, intake, loop))
        threading.Thread(target=reader, args=(server,), daemon=True).start()
        server.send(Ready(info=_described(engine, prompter.template)))
        importlib.import_module("numpy")  # a fifth of a second that the start need not wait for, nor an answer
        loop.run()
        if looker is not None:
            looker.close()
        if shelf is not None:
            shelf.close()

    return serve


def _described(engine: Engine, template: Template) -> ModelInfo:
    """What the model turned out to be, its template's abilities included."""
    return msgspec.structs.replace(
        engine.info,
        thinks=template.thinks,
        thinking_switch=template.thinking_switch,
        tells_names=template.knows_names,
        untaught=engine.template is None,
    )


def _looker(load: Load, engine: Engine, loop: Loop) -> Looker | None:
    """Who looks at pictures, where the model takes any."""
    if "picture" not in engine.info.senses:
        return None
    projector = load.projector or load.path  # the fake engine needs none
    opening = Open(load.engine, load.path, projector, load.projector_digest, load.projector_patch)
    return Looker(opening, lambda: loop.spare_threads)


def _album(load: Load, engine: Engine) -> Album:
    """What was seen before, on disk too, where anything is kept there."""
    if "picture" not in engine.info.senses or not load.shelf or not load.shelf_bytes:
        return Album()
    fingerprint = _fingerprint(f"{load.digest} {load.projector_digest}", engine)  # tokens around it are the model's
    return Album(disk=on_disk(Path(load.shelf) / "pictures", load.shelf_bytes // SHARE, fingerprint))


def _shelf(load: Load, engine: Engine, alive: Callable[[], None]) -> Shelf | None:
    """The place for prefixes that outlive the process, unless there is none or it cannot be had."""
    if not load.shelf or not load.shelf_bytes:
        return None
    budget = load.shelf_bytes - load.shelf_bytes // SHARE * ("picture" in engine.info.senses)
    try:
        return Shelf(Path(load.shelf), budget, _fingerprint(load.digest, engine), engine.cuts, alive)
    except OSError as error:
        print(f"no prefixes are kept on disk: {load.shelf}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return None


def _fingerprint(files: str, engine: Engine) -> str:
    """What can be gone on from: these `files`, by their digests, in this build of the engine."""
    return hashlib.sha256(f"{files} {engine.info.engine} f16 views".encode()).hexdigest()


if __name__ == "__main__":
    main()
