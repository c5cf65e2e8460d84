"""A model's projector for a file that is made of the model: in eight bits where that is faster and sees the same."""

import shutil
from collections.abc import Callable
from pathlib import Path

from edgechat import registry
from edgechat.errors import EngineFailed, ModelError
from edgechat.hub.stored import Stored
from edgechat.i18n import t
from edgechat.models import projectors
from edgechat.process.disk import writing


def writer(model: Stored, threads: int, say: Callable[[str], None]) -> Callable[[Path], None] | None:
    """What writes the projector of `model` to a path, as it is served best, and says what was found; None without one.

    It raises StorageError.
    """
    projector = projectors.of(model.path, model.companions)
    return None if projector is None else lambda target: say(_write(model.path, projector.path, target, threads))


def _write(model: Path, projector: Path, target: Path, threads: int) -> str:
    try:
        registry.load(registry.PROJECTORS, "shrink", "work")(projector, target, threads)
        found = registry.load(registry.PROJECTORS, "compare", "work")(model, projector, target, 1)
    except (ModelError, EngineFailed) as error:
        why = str(error)
    else:
        speed, cosine = f"{found.speed:.1f}", f"{found.cosine:.4f}"
        if found.is_better:
            return t(f"Its projector has eight bits now: {speed} times as fast, cosine {cosine}.")
        why = f"in eight bits it would be {speed} times as fast, cosine {cosine}"
    with writing(target.parent):
        shutil.copyfile(projector, target)
    return t(f"Its projector stays as it is: {why}.")
