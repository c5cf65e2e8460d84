"""Numerical correctness and speed of models on their real weights: what a new family is held to before it is trusted.

    file ─► served: memory, one user, a second turn, a branch, a restart                                speed
    file ─► its weights in 32 bits ─► log probabilities of a text ◄── divergence ── the file itself     correctness

The referee is the same library over the same weights, without a rounding: what is far from it is a product gone wrong,
or a file rounded too far.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from edgechat import machine
from edgechat.bench.article import LABELS, each_alone
from edgechat.bench.local import Model
from edgechat.bench.report import Report
from edgechat.errors import EdgechatError, ModelNotFound
from edgechat.gguf.header import read_header
from edgechat.hub.store import Store
from edgechat.tune.lab import Lab
from edgechat.tune.letters import SCORED, Done, Judge, Judged, Read, Recast
from edgechat.tune.quality import Quality
from edgechat.types import Struct

PROBED = ("memory", "single", "turns", "branch", "restart")
REFEREE = "F32"


class Family(Struct, frozen=True):
    """What was found; its JSON is `--json`'s document. By label: how far from float32, or why that is not known."""

    models: Report
    float32: dict[str, Quality]
    unjudged: dict[str, str]

    @property
    def failed(self) -> bool:
        """Whether something that should have been found was not."""
        return self.models.failed or bool(self.unjudged)


async def family(models: Sequence[str], runs: int, home: Path, tell: Callable[[str], None]) -> Family:
    """Serve and judge one model after the other. `home` has them, or gets them."""
    named = dict(zip(LABELS, models, strict=False))
    report = await each_alone([Model(label, name) for label, name in named.items()], PROBED, runs, home, tell)
    found, unjudged = {}, {}
    for label, name in named.items():
        tell(f"comparing {name} with its weights in 32 bits")
        try:
            with tempfile.TemporaryDirectory(prefix="bench-", dir=home) as folder:
                found[label] = await judged(_file(name, home), Path(folder), machine.cores())
        except EdgechatError as error:
            unjudged[label] = str(error)
    return Family(report, found, unjudged)


async def judged(model: Path, folder: Path, threads: int) -> Quality:
    """How far the GGUF at `model` is from its own weights in 32 bits, which take `folder` meanwhile.

    Raises ModelFileInvalid, NoSpace, EngineFailed.
    """
    matrices = [tensor.name for tensor in read_header(model).tensors if len(tensor.shape) > 1]
    whole, rows = str(folder / "float32.gguf"), str(folder / "rows.npy")
    async with Lab() as lab:
        types = dict.fromkeys(matrices, REFEREE)
        await lab.ask(Recast(str(model), whole, types, (), threads), Done, _unheard)
        await lab.ask(Read(whole, rows, threads), Done, _unheard)
        return Quality.of((await lab.ask(Judge(str(model), rows, 0, SCORED, threads), Judged, _unheard)).rows)


def told(found: Family) -> list[str]:
    """A line for each model."""
    judged = [
        f"{label}: {one.kld:.4f} ± {one.error:.4f} nats from its weights in float32, over {one.rows} tokens; the same "
        f"word first in {one.same_top:.1%}."
        for label, one in found.float32.items()
    ]
    return [*judged, *(f"{label} was not compared with float32: {why}" for label, why in found.unjudged.items())]


def _file(name: str, home: Path) -> Path:
    stored = Store(home).find(name) or Store(home).by_reference(name)
    path = stored.path if stored else Path(name)
    if not path.is_file():
        raise ModelNotFound(f"there is no model file {name} here.")
    return path


def _unheard(_fraction: float) -> None:
    """How far one order is goes by within the line that tells of it."""
