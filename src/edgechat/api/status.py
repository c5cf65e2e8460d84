"""What the page shows beside a conversation: the server's state, its memory, and how answers are made by default."""

from typing import Any

import msgspec
import psutil
from fastapi import APIRouter

from edgechat import __version__
from edgechat.api.requests import StrictRoute, TheRuntime
from edgechat.types import Sampling

router = APIRouter(prefix="/api", route_class=StrictRoute)

TOLD = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")  # of a model's sampling, as in a run's params


@router.get("/status", summary="State, memory, and how answers are made where nothing else is asked for")
def status(runtime: TheRuntime) -> dict[str, Any]:
    served = runtime.served
    return {
        "version": __version__,
        **msgspec.to_builtins(runtime.readiness),
        "defaults": defaults(served.sampling) if served else {},
        "memory": memory(),
    }


def defaults(sampling: Sampling) -> dict[str, Any]:
    """What a request gets that does not ask for anything else."""
    return {name: getattr(sampling, name) for name in TOLD}


def memory() -> dict[str, int]:
    """Bytes: what this process and its workers hold, and what the machine could still give."""
    server = psutil.Process()
    held = sum(_rss(process) for process in (server, *server.children(recursive=True)))
    return {"rss": held, "available": psutil.virtual_memory().available}


def _rss(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:  # it ended just now
        return 0
