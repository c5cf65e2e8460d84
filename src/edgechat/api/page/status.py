"""Server status, shown beside a conversation: state, memory, speed, and how answers are made by default."""

from itertools import islice
from typing import Any

from fastapi import Request

from edgechat import __version__
from edgechat.api.requests import TheRuntime
from edgechat.api.routes import Facts, Need, Router
from edgechat.api.watch.board import Board
from edgechat.types import Sampling

router = Router("/api")

TOLD = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")  # of a model's sampling, as in a run's params
MINUTE = 60  # samples


@router.get(
    "/status", Facts(Need.KEY), "State, memory, speed, and how answers are made where nothing else is asked for"
)
async def status(request: Request, runtime: TheRuntime) -> dict[str, Any]:
    board: Board = request.app.state.board
    served, sample = runtime.served, board.last()
    return {
        "version": __version__,
        **runtime.readiness.told(),
        "defaults": defaults(served.sampling) if served else {},
        "engine": {"build": served.info.engine, "kernels": served.info.kernels} if served else {},
        # Bytes: what this process and its workers hold, and what the machine could still give.
        "memory": {"rss": sample.rss, "available": sample.free},
        "running": sample.running,
        "waiting": sample.waiting,
        "speed": [one.decode for one in islice(board.samples, max(0, len(board.samples) - MINUTE), None)],
    }


def defaults(sampling: Sampling) -> dict[str, Any]:
    """What a request gets that does not ask for anything else."""
    return {name: getattr(sampling, name) for name in TOLD}
