"""A smoke test: whether a loaded model does its work at all, a greeting, and a few tokens or a vector back."""

import asyncio

from edgechat.errors import EngineFailed, error_of
from edgechat.models.supervisor import Worker
from edgechat.types import Answered, Delta, Embed, Failed, GenRequest, Message, Sampling

GREETING = GenRequest((Message.of("user", "Hello"),), Sampling(temperature=0.0), max_tokens=4)
TEXT = Embed(("Hello",))
PROBE_S = 60.0


async def answers(worker: Worker) -> None:
    """Have the model of `worker`, which is ready, say something. Raises EngineFailed, or what it answers instead."""
    embeds = worker.info is not None and worker.info.dimensions
    try:
        async with asyncio.timeout(PROBE_S):
            with worker.asked(TEXT if embeds else GREETING) as events:
                said = [event async for event in events]
    except TimeoutError:
        raise EngineFailed(f"it says nothing within {PROBE_S:.0f} s.") from None
    last = said[-1]
    if isinstance(last, Failed):
        raise error_of(last)
    if not any(isinstance(event, Delta | Answered) for event in said):
        raise EngineFailed("it ends without a word.")
