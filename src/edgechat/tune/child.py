"""The process that measures: orders in, answers out (letters.py).

A candidate that kills it, or a person who ends it, costs one measurement. Started by lab.py as `python -m
edgechat.tune.child`.
"""

import os
import sys
from pathlib import Path
from queue import SimpleQueue
from typing import NoReturn

from edgechat.errors import EdgechatError, EngineFailed
from edgechat.gguf.recast import recast
from edgechat.process.parent import Parent
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
    to_child,
)
from edgechat.tune.settle import settle
from edgechat.tune.timing import Told

LEAST_PROGRESS = 0.01  # between two letters


def main() -> NoReturn:
    """Carry out orders until the parent goes."""
    parent = Parent(to_child)
    if "--background" in sys.argv[1:]:
        os.nice(19)
    inbox: SimpleQueue[AnyOrder] = SimpleQueue()
    parent.listen(inbox.put)
    while True:
        order, last = inbox.get(), -1.0

        def told(fraction: float) -> None:
            nonlocal last
            if fraction - last >= LEAST_PROGRESS:
                last = fraction
                parent.send(Progress(round(fraction, 3)))

        parent.send(_carried_out(order, told))


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


if __name__ == "__main__":
    main()
