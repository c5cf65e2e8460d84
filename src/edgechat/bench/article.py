"""The table of the article that this project began with, on this machine: one model after the other, served alone.

models         parameters, memory, start-up, two turns
the smallest   prompt and answer with 1, 2, 4 … threads
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from edgechat.bench.client import Address
from edgechat.bench.local import Model, served
from edgechat.bench.report import Report, Row, number, report
from edgechat.bench.run import Measured, Outcome, measure
from edgechat.errors import ConfigError
from edgechat.gguf.header import read_header
from edgechat.hub.store import Store
from edgechat.types import Struct

MODELS = ("qwen1.5-0.5b-chat", "qwen1.5-1.8b-chat", "qwen1.5-7b-chat")  # the article's, the smallest first
LABELS = "ABCDEFGH"
OF_MODELS = ("size", "memory", "startup", "turns")
OF_THREADS = ("single",)
SECOND_TURN = 0.6  # the article's: a second turn is answered 40 % sooner than the first
WEIGHTS = {"qwen1.5-0.5b": 500, "qwen1.5-1.8b": 1800, "qwen1.5-7b": 7000}  # millions, as the models' names have them
RECIPE = 4  # bytes that the article's recipe, float32, takes for a weight
STAND_IN = "stand-in"  # in the name that a file of noise in a model's shape gives itself


class Claim(Struct, frozen=True):
    """What the article says, or its recipe takes, and each model's own figure here, by label."""

    about: str
    unit: str
    article: float
    here: dict[str, float]


class Article(Struct, frozen=True):
    """The whole; its JSON is `--json`'s document."""

    models: Report
    threads: Report
    claims: tuple[Claim, ...]
    stand_ins: tuple[str, ...] = ()  # labels of models that are noise in the shape of one

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
    of_models = await each_alone(
        [Model(*each) for each in zip(LABELS, models, strict=False)], OF_MODELS, runs, home, tell
    )
    threads = [Model(label, models[0], ("--threads", str(n))) for label, n in zip(LABELS, counts(cores), strict=False)]
    of_threads = await each_alone(threads, OF_THREADS, runs, home, tell)
    named = dict(zip(LABELS, models, strict=False))
    return Article(of_models, of_threads, tuple(_claims(of_models, named)), tuple(_stand_ins(named)))


async def each_alone(
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


def _stand_ins(models: Mapping[str, str]) -> Iterator[str]:
    """The labels of files that say of themselves that they only have a model's shape."""
    for label, reference in models.items():
        path = Path(reference)
        if path.suffix == ".gguf" and path.is_file() and STAND_IN in (read_header(path).name or ""):
            yield label


def _claims(found: Report, models: Mapping[str, str]) -> Iterator[Claim]:
    figures = {(probe.name, row.name): row for probe in found.probes for row in probe.figures}
    weights = _medians(figures.get(("size", "parameters")))
    for label, reference in models.items():
        named = next((count for name, count in WEIGHTS.items() if name in reference.lower()), None)
        if named is not None and label in weights:
            yield Claim(f"{label}: weights", "M", named, {label: weights[label]})
    for label, most in _medians(figures.get(("memory", "most"))).items():
        if label in weights:
            yield Claim(
                f"{label}: memory (the recipe: its weights in float32)", "MB", weights[label] * RECIPE, {label: most}
            )
    ratio = figures.get(("turns", "ratio"))
    if ratio is not None:
        yield Claim(ratio.about, ratio.unit, SECOND_TURN, _medians(ratio))


def _medians(row: Row | None) -> dict[str, float]:
    """A figure by the label of its model."""
    return {value.address: value.median for value in row.values} if row else {}


def compared(found: Article) -> list[str]:
    """The claims, a line each; and which models only have the shape of one."""
    claims = [
        f"{claim.about}: {number(claim.article)} in the article; here "
        + ", ".join(f"{label} {number(value)}" for label, value in claim.here.items())
        + f" {claim.unit}".rstrip()
        for claim in found.claims
    ]
    marked = ", ".join(found.stand_ins)
    note = f"{marked}: a stand-in, noise in the model's shape; speed, memory and start-up are true, the words are not."
    return [*claims, note] if marked else claims
