"""Exit causes: why a worker process ended, as well as its status and its last words tell. Pure, but for the kernel's
counter.
"""

import re
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from edgechat.errors import EngineFailed, EngineOutOfMemory
from edgechat.types import Failed

VMSTAT = Path("/proc/vmstat")
# How libraries say that memory ran out, before they give up.
_NO_MEMORY = re.compile(r"MemoryError|bad_alloc|out of memory|failed to allocate|cannot allocate memory", re.IGNORECASE)
_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP)

Cause = Literal["crash", "hang", "nonsense", "memory", "outside", "stopped"]
_WORDS: dict[Cause, str] = {
    "crash": "the engine's process ended",
    "hang": "the engine did not go on and was ended",
    "nonsense": "the engine's process lost its way and was ended",
    "memory": "the engine ran out of memory: serve with a smaller --context or --memory, or a smaller model",
    "outside": "the engine's process was ended from outside",
    "stopped": "the model was unloaded before the answer was whole",
}


class Death(NamedTuple):
    """One end of a process. `status` is its exit status, negative for a signal."""

    cause: Cause
    status: int
    words: str

    @property
    def blames_request(self) -> bool:
        """Whether what was being answered may have caused it."""
        return self.cause not in ("outside", "stopped")

    def told(self) -> Failed:
        """What the readers of its answers hear."""
        code = EngineOutOfMemory.code if self.cause == "memory" else EngineFailed.code
        again = "" if self.cause == "stopped" else "it is being started again. "
        return Failed(code, f"{_WORDS[self.cause]}; {again}Try once more.")

    def while_loading(self) -> EngineFailed:
        """What makes the model unservable."""
        if self.cause == "memory":
            return EngineOutOfMemory(f"the model could not be loaded: {_WORDS['memory']}.")
        words = f" Its last words: {self.words}" if self.words else ""
        return EngineFailed(
            f"{_WORDS[self.cause]} while it loaded the model (status {self.status}).{words} See `edgechat doctor`."
        )


def explain(status: int, ended_for: Cause | None, killed_for_memory: bool, last_words: Sequence[str]) -> Death:
    """The death of a process. `ended_for` is why we ended it ourselves; `killed_for_memory`: the kernel killed some."""
    words = last_words[-1] if last_words else ""
    if ended_for is not None:
        return Death(ended_for, status, words)
    if _NO_MEMORY.search("\n".join(last_words)) or (status == -signal.SIGKILL and killed_for_memory):
        return Death("memory", status, words)
    return Death("outside" if status in _FROM_OUTSIDE else "crash", status, words)


def kills_for_memory(vmstat: Path = VMSTAT) -> int:
    """How many processes the kernel has killed for want of memory since it started; 0 where it does not say."""
    try:
        pairs = (line.split() for line in vmstat.read_text().splitlines())
        return next((int(count) for name, count in pairs if name == "oom_kill"), 0)
    except (OSError, ValueError):
        return 0
