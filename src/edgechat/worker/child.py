"""The worker process: letters in on stdin, letters out on stdout, one model, two threads.

    reader thread   stdin ─► prompt (template, tokens) ─► loop's letters        ends the process when stdin ends
    main thread     loop: engine steps ─► stdout

Started by supervisor.py as `python -m edgechat.worker.child`.
"""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import BinaryIO

from edgechat import registry
from edgechat.engine.base import Engine
from edgechat.errors import EdgechatError, EngineFailed
from edgechat.prompt.template import CHATML, Template
from edgechat.prompt.tokens import Prompter
from edgechat.scheduler.loop import Loop, Submit
from edgechat.types import (
    AnyEvent,
    AnyFromWorker,
    AnyToWorker,
    Cancel,
    Failed,
    Generate,
    Load,
    LoadFailed,
    Loading,
    LoadProgress,
    Message,
    Ready,
    Told,
)
from edgechat.worker import letters


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


def _serve_letters(stream: BinaryIO, prompter: Prompter, loop: Loop, post: Post) -> None:
    """Read until the server goes. Prompts are made here, so that a bad one is refused while others are answered."""
    while (letter := _read(stream)) is not None:
        match letter:
            case Generate(id=id, request=request):
                try:
                    loop.post(Submit(id, request, prompter.encode(request.messages)))
                except EdgechatError as error:
                    param = getattr(error, "param", None)
                    post.tell(id, Failed(code=error.code, message=str(error), param=param))
            case Cancel():
                loop.post(letter)
            case Load():
                raise AssertionError("a worker loads once")
    os._exit(0)


def _load(letter: Load, post: Post) -> tuple[Engine, Prompter]:
    """The engine, and a prompter that was tried once."""

    def progress(event: Loading) -> None:
        post.send(LoadProgress(event=event))

    make = registry.load(registry.ENGINES, letter.engine, "engine")
    engine: Engine = make(Path(letter.path), letter.context, letter.threads, progress)
    names = {id: text for text, id in engine.tokenizer.specials.items()}
    bos = names.get(engine.tokenizer.bos, "") if engine.tokenizer.bos is not None else ""
    prompter = Prompter(Template(engine.template or CHATML, bos=bos), engine.tokenizer, engine.info.context)
    prompter.encode([Message(role="user", content="Hello")])
    return engine, prompter


def main() -> None:
    """Serve letters until the server closes stdin."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's business
    source, post = sys.stdin.buffer, Post(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)  # whatever a library prints goes to the log, not between the letters
    first = _read(source)
    if not isinstance(first, Load):
        return
    try:
        engine, prompter = _load(first, post)
    except EdgechatError as error:
        post.send(LoadFailed(code=error.code, message=str(error)))
        return
    except Exception as error:  # the file is foreign: whatever it broke is told, not thrown
        post.send(LoadFailed(code=EngineFailed.code, message=f"the model could not be loaded: {error!r}"))
        return
    loop = Loop(engine, post.tell)
    threading.Thread(target=_serve_letters, args=(source, prompter, loop, post), daemon=True).start()
    post.send(Ready(info=engine.info))
    loop.run()


if __name__ == "__main__":
    main()
