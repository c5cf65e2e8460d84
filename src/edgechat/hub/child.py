"""The process that talks to hubs and package indexes, so that a pull can be cancelled whatever a library is doing.

Its letters are in letters.py. Started by errand.py as `python -m edgechat.hub.child`.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from edgechat import registry
from edgechat.errors import EdgechatError, HubError, HubUnreachable
from edgechat.hub import outbound
from edgechat.hub.letters import AnyAnswer, Failed, Fetched, Go, Order, Resolved, to_child
from edgechat.hub.reference import Link, Remote, parse
from edgechat.hub.source import Source
from edgechat.process.parent import Parent

Inbox = SimpleQueue[Order | Go]


def main() -> int:
    """Carry out one order."""
    parent, inbox = Parent(to_child), Inbox()
    parent.listen(inbox.put)
    try:
        _carry_out(inbox, parent.send)
    except EdgechatError as error:
        parent.send(Failed(error.code, str(error)))
        return 1
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")
        parent.send(Failed(HubError.code, f"the download failed: {type(error).__name__} {reason}".strip()))
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


if __name__ == "__main__":
    sys.exit(main())
