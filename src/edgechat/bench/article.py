"""The table of the article that this project began with, on this machine: one model after the other, served alone.

models         parameters, memory, start-up, two turns
the smallest   prompt and answer with 1, 2, 4 … threads
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from edgechat.bench.client import Address
from edgechat.bench.local import Model, served
from edgechat.bench.report import Report, number, report
from edgechat.bench.run import Measured, Outcome, measure
from edgechat.errors import ConfigError
from edgechat.hub.store import Store
from edgechat.types import Struct

MODELS = ("qwen1.5-0.5b-chat", "qwen1.5-1.8b-chat", "qwen1.5-7b-chat")  # the article's, the smallest first
LABELS = "ABCDEFGH"
OF_MODELS = ("size", "memory", "startup", "turns")
OF_THREADS = ("single",)
SECOND_TURN = 0.6  # the article's: a second turn is answered 40 % sooner than the first


class Claim(Struct, frozen=True):
    """What the article says, and each model's own figure here, by label."""

    about: str
    unit: str
    article: float
    here: dict[str, float]


class Article(Struct, frozen=True):
    """The whole; its JSON is `--json`'s document."""

    models: Report
    threads: Report
    claims: tuple[Claim, ...]

    @property
    def failed(self) -> bool:
        """Whether a run that should have given figures gave none."""
        return self.models.failed or self.threads.failed


def models_here(home: Path) -> list[str]:
    """The article's models that are on disk. Raises ConfigError where none is."""
    store = Store(home)
    found = [name for name in MODELS if store.find(name) is not None]
    if not found:
        raise ConfigError(f"none of the article's models is here: edgechat pull {MODELS[0]}, or name models of yours.")
    return found


def counts(cores: int) -> list[int]:
    """Thread counts to try: 1, 2, 4 … and all."""
    powers = [1 << power for power in range(cores.bit_length())]
    return sorted({*powers[: len(LABELS) - 1], cores})


async def article(models: Sequence[str], cores: int, runs: int, home: Path, tell: Callable[[str], None]) -> Article:
    """Measure `models`, the smallest first. One that cannot be served is left out, and it is said why."""
    of_models = await _each([Model(*each) for each in zip(LABELS, models, strict=False)], OF_MODELS, runs, home, tell)
    threads = [Model(label, models[0], ("--threads", str(n))) for label, n in zip(LABELS, counts(cores), strict=False)]
    of_threads = await _each(threads, OF_THREADS, runs, home, tell)
    return Article(of_models, of_threads, tuple(_claims(of_models)))


async def _each(
    models: Sequence[Model], probes: Sequence[str], runs: int, home: Path, tell: Callable[[str], None]
) -> Report:
    """`models`, each served alone: together they might not fit."""
    addresses: list[Address] = []
    outcomes: list[Outcome] = []
    names: dict[str, str | None] = {}
    busy: list[float] = []
    for model in models:
        try:
            async with served(model, home, tell) as address:
                found = await measure([address], probes, runs, tell=tell)
        except ConfigError as error:
            found = Measured(tuple(Outcome(probe, model.label, 0, skipped=str(error)) for probe in probes), {})
        addresses.append(Address(model.label, "", 0, command=model.command))
        outcomes += found.outcomes
        names |= found.models
        busy += found.busy
    return report(addresses, runs, Measured(tuple(outcomes), names, tuple(busy)))


def _claims(found: Report) -> Iterator[Claim]:
    for probe in found.probes:
        for row in probe.figures:
            if (probe.name, row.name) == ("turns", "ratio"):
                yield Claim(row.about, row.unit, SECOND_TURN, {value.address: value.median for value in row.values})


def compared(found: Article) -> list[str]:
    """The claims, a line each."""
    return [
        f"{claim.about}: {number(claim.article)} in the article; here "
        + ", ".join(f"{label} {number(value)}" for label, value in claim.here.items())
        for claim in found.claims
    ]
