"""The process that talks to hubs and package indexes, so that a pull can be cancelled whatever a library is doing.

Letters (source.py) come in on stdin and go out on stdout, one JSON line each. What libraries print goes to stderr.
When the parent dies, stdin ends, and so does this process with everything it started.
Started by errand.py as `python -m edgechat.hub.child`.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO

from edgechat import registry
from edgechat.errors import EdgechatError, HubError, HubUnreachable
from edgechat.hub import outbound
from edgechat.hub.reference import Link, Remote, parse
from edgechat.hub.source import AnyAnswer, Failed, Fetched, Go, Order, Resolved, Source, pack, to_child

Inbox = SimpleQueue[Order | Go]


def main() -> int:
    """Carry out one order."""
    out = _own_stdout()
    inbox = Inbox()
    threading.Thread(target=_listen, args=(inbox,), daemon=True).start()

    def answer(letter: AnyAnswer) -> None:
        out.write(pack(letter))

    try:
        _carry_out(inbox, answer)
    except EdgechatError as error:
        answer(Failed(error.code, str(error)))
        return 1
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")
        answer(Failed(HubError.code, f"the download failed: {type(error).__name__} {reason}".strip()))
        return 1
    return 0


def _carry_out(inbox: Inbox, answer: Callable[[AnyAnswer], None]) -> None:
    order = inbox.get()
    assert isinstance(order, Order)
    reference = parse(order.reference)
    assert isinstance(reference, Remote)
    with _patience(order, answer):
        hub = order.options.get("endpoint") or (reference.url if isinstance(reference, Link) else "")
        outbound.guard([hub, *outbound.proxies(os.environ)])
        make = registry.load(registry.SOURCES, reference.scheme, "source")
        source: Source = make(**order.options)
        manifest = source.resolve(reference)
    answer(Resolved(manifest))
    go = inbox.get()
    assert isinstance(go, Go)
    source.fetch(go.manifest, Path(go.staging))
    answer(Fetched())


@contextmanager
def _patience(order: Order, answer: Callable[[AnyAnswer], None]) -> Iterator[None]:
    """Give up on a hub that does not say in time what it has: one that drips never ends by a library's own limits."""

    def give_up() -> None:
        why = f"the hub does not say within {order.patience:.0f} s what it has; try again later."
        answer(Failed(HubUnreachable.code, f"{order.reference}: {why}"))
        os._exit(1)

    timer = threading.Timer(order.patience, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _own_stdout() -> BinaryIO:
    """The real stdout, which only letters use; prints go to stderr from here on."""
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return out


def _listen(inbox: Inbox) -> None:
    """Read letters until the parent is gone; then end it all."""
    with os.fdopen(os.dup(0), "rb", buffering=0) as stdin:
        for line in stdin:
            inbox.put(to_child.decode(line))
    if os.getpgrp() == os.getpid():  # a group of our own: pip, where it runs, is in it
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
