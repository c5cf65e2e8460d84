"""The process that measures: orders in on stdin, answers out on stdout, one JSON line each (letters.py).

A candidate that kills it, or a person who ends it, costs one measurement. What libraries print goes to stderr. When the
parent dies, stdin ends, and so does this process. Started by lab.py as `python -m edgechat.tune.child`.
"""

import os
import sys
import threading
from pathlib import Path
from queue import SimpleQueue

import msgspec

from edgechat.errors import EdgechatError, EngineFailed
from edgechat.gguf.recast import recast
from edgechat.tune import attention, measure
from edgechat.tune.letters import (
    AnyAnswer,
    AnyOrder,
    Attend,
    Attended,
    Costed,
    Costs,
    Done,
    Judge,
    Judged,
    Progress,
    Race,
    Raced,
    Read,
    Recast,
    Refused,
    Settle,
    pack,
    to_child,
)
from edgechat.tune.settle import settle
from edgechat.tune.timing import Told

LEAST_PROGRESS = 0.01  # between two letters


def main() -> int:
    """Carry out orders until stdin ends."""
    out = os.dup(1)
    os.dup2(2, 1)
    if "--background" in sys.argv[1:]:
        os.nice(19)
    inbox: SimpleQueue[AnyOrder] = SimpleQueue()
    threading.Thread(target=_listen, args=(inbox,), daemon=True).start()
    while True:
        order, last = inbox.get(), -1.0

        def told(fraction: float) -> None:
            nonlocal last
            if fraction - last >= LEAST_PROGRESS:
                last = fraction
                os.write(out, pack(Progress(round(fraction, 3))))

        os.write(out, pack(_carried_out(order, told)))


def _carried_out(order: AnyOrder, told: Told) -> AnyAnswer:
    try:
        return _answer(order, told)
    except EdgechatError as error:
        return Refused(error.code, str(error))
    except MemoryError:
        return Refused(EngineFailed.code, "there is not enough memory to measure this model.")
    except Exception as error:  # the file is foreign: whatever it broke is told, not thrown
        return Refused(EngineFailed.code, f"the model could not be measured: {error!r}")


def _answer(order: AnyOrder, told: Told) -> AnyAnswer:
    model = Path(order.model)
    match order:
        case Costs(folder=folder, kinds=kinds, threads=threads):
            return Costed(measure.costs(model, Path(folder), kinds, threads, told))
        case Read(rows=rows, threads=threads):
            measure.read(model, Path(rows), threads, told)
        case Recast(target=target, types=types, relatives=relatives, threads=threads):
            files = [Path(path) for path in relatives]
            recast(model, Path(target), types, threads, files, lambda done, total: told(done / total))
        case Judge(rows=rows, start=start, stop=stop, threads=threads):
            return Judged(tuple(measure.judge(model, Path(rows), start, stop, threads, told)))
        case Attend(threads=threads):
            return Attended(attention.flash(model, threads, told))
        case Race(as_it_is=as_it_is, flash=flash, threads=threads):
            return Raced(measure.race(Path(as_it_is), model, flash, threads, told))
        case Settle(flash=flash, threads=threads):
            return settle(model, flash, threads, told)
    return Done()


def _listen(inbox: "SimpleQueue[AnyOrder]") -> None:
    """Read orders until the parent is gone; then end at once, whatever is being measured."""
    with os.fdopen(os.dup(0), "rb", buffering=0) as stdin:
        for line in stdin:
            try:
                inbox.put(to_child.decode(line))
            except msgspec.DecodeError:
                break
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
