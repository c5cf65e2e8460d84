"""What `edgechat serve` says about tuning, and tuning while it serves.

The measuring process runs at the lowest priority. When it is done, the running server finds the result on disk, loads
the chosen file beside the old one and switches (models/upkeep.py): no request fails.
"""

from collections.abc import Iterator

import structlog

from edgechat import machine
from edgechat.cli import eyes
from edgechat.errors import ConfigError, EdgechatError
from edgechat.hub.stored import Stored
from edgechat.models.library import Library
from edgechat.settings import Settings
from edgechat.tune.lab import Lab
from edgechat.tune.letters import ENGINE
from edgechat.tune.progress import Step
from edgechat.tune.run import Wish, tune

log = structlog.get_logger("tune")


def check(settings: Settings) -> None:
    """Raise ConfigError unless what the settings' engine runs can be tuned."""
    if settings.engine != ENGINE:
        raise ConfigError(f"only models that {ENGINE} runs can be tuned, and the engine is set to {settings.engine}.")


def told(library: Library, stored: Stored, tuning: bool) -> Iterator[str]:
    """What there is to say about tuning the model that is served."""
    if library.settings.engine != ENGINE:
        return
    found = library.tuned(stored)
    if found is None:
        if tuning:
            yield "Tuning for this machine goes on meanwhile; the faster file takes over when it is found."
        elif library.records.is_outdated(stored.sha256):
            yield f"The engine or this machine is a new one since {stored.name} was tuned: edgechat tune {stored.name}"
        else:
            yield f"Tip: `edgechat tune {stored.name}` makes it faster (once, a few minutes)."
        return
    tuned = found[0]
    if tuned.chosen == tuned.baseline:
        yield f"Tuned for this machine: the file as it is ({tuned.chosen.recipe}) is the fastest."
        return
    kld = tuned.chosen.quality.kld if tuned.chosen.quality else 0.0
    yield f"Tuned for this machine: {tuned.chosen.recipe}, {tuned.gain:.1f}× as fast, divergence {kld:.3f}."


async def tune_beside(library: Library, stored: Stored) -> None:
    """Tune `stored` in the background; what goes wrong is logged."""
    doing = ""

    def tell(step: Step) -> None:
        nonlocal doing
        if step.doing != doing:
            log.info(f"tuning: {step.doing}", done=round(step.fraction, 2))
        doing = step.doing

    settings = library.settings
    wish = Wish(memory=int(settings.memory), threads=settings.threads)
    try:
        async with Lab(background=True) as lab:
            see = eyes.writer(stored, settings.threads or machine.cores(), log.info)
            found = await tune(stored, library.store, library.records, lab, wish, tell, see)
    except EdgechatError as error:
        log.error("tuning failed", why=str(error))
    else:
        log.info("tuned", recipe=found.chosen.recipe, gain=round(found.gain, 2))
