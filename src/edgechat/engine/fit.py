"""Memory planning: how many tokens fit beside what a model takes anyway, within one number. Pure arithmetic.

fixed (weights, buffers, process) + cells * bytes of a token's place ≤ memory
"""

from typing import NamedTuple

import psutil

from edgechat import machine
from edgechat.errors import ConfigError

DEFAULT_CONTEXT = 4096  # where nobody asked: a trained context of 32k would cost gigabytes
CONVERSATIONS = 4  # full ones that are held at once where memory allows
DEFAULT_SHARE = 0.5  # of the memory that is free, where nobody named a number
LEAST_CONTEXT = 256
ENDLESS = 1 << 62  # bytes: no bound


class Plan(NamedTuple):
    """`context` tokens a conversation, `cells` tokens in all, about `bytes` of memory; `notes` tell what was cut."""

    context: int
    cells: int
    bytes: int
    notes: tuple[str, ...]


def fit(trained: int, fixed: int, per_cell: int, context: int, memory: int, conversations: int = CONVERSATIONS) -> Plan:
    """How many tokens fit beside `fixed` bytes, at `per_cell` for each, of a model that knows `trained`.

    `context` 0 and `memory` 0 were not asked for. Raises ConfigError when the asked context is more than the model
    knows, or nothing sensible fits: with the number that would.
    """
    if context > trained:
        raise ConfigError(f"--context {context}: this model was trained for {trained} tokens; take at most that.")
    wanted = context or min(trained, DEFAULT_CONTEXT)
    limit = memory or int(free_memory() * DEFAULT_SHARE)
    fitting = (limit - fixed) // per_cell // 64 * 64
    if fitting >= wanted:
        cells = min(fitting, wanted * conversations)
        return Plan(wanted, cells, fixed + cells * per_cell, ())
    needed = fixed + per_cell * (wanted if context else min(wanted, LEAST_CONTEXT))
    if context or fitting < LEAST_CONTEXT:
        what = f"a context of {wanted}" if context else f"even the smallest context ({LEAST_CONTEXT} tokens)"
        raise ConfigError(
            f"{_size(limit)} of memory do not hold this model with {what}: it takes --memory {_size(needed)}."
        )
    note = f"context {fitting} instead of {wanted}: {_size(limit)} of memory hold no more"
    return Plan(fitting, fitting, fixed + fitting * per_cell, (note,))


def free_memory() -> int:
    """Bytes that a new process may take here."""
    return min(int(psutil.virtual_memory().available), machine.memory_limit())


def _size(count: int) -> str:
    return f"{count / 1e9:.2f}GB"
