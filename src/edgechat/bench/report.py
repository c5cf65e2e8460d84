"""What was found: medians, spread, ratios to the first address; as tables and as one JSON document."""

from collections.abc import Sequence
from statistics import median

from rich.console import Console
from rich.table import Table

from edgechat import __version__, machine
from edgechat.bench.client import Address
from edgechat.bench.probes import PROBES
from edgechat.bench.run import Measured, Outcome
from edgechat.i18n import t
from edgechat.types import Struct

DIGITS = 6  # behind the point in JSON
QUIET = 0.2  # of the processor that others may use before the figures are called in question


class Value(Struct, frozen=True):
    """One figure at one address. `ratio` is to the first address's median; None where there is none, or it is 0."""

    address: str
    readings: tuple[float, ...]
    median: float
    min: float
    max: float
    ratio: float | None


class Row(Struct, frozen=True):
    """One figure at every address that gave it."""

    name: str
    about: str
    unit: str
    better: str | None
    values: tuple[Value, ...]


class Trouble(Struct, frozen=True):
    """Why there is no figure. `run` 0: none was tried."""

    address: str
    run: int
    why: str


class Found(Struct, frozen=True):
    """One probe."""

    name: str
    about: str
    figures: tuple[Row, ...]
    skipped: tuple[Trouble, ...]
    failed: tuple[Trouble, ...]


class Place(Struct, frozen=True):
    """One address, and the model there as it calls itself. `command` started the server, where bench did that."""

    label: str
    url: str
    model: str | None
    command: str = ""


class Report(Struct, frozen=True):
    """The whole; its JSON is `--json`'s document. `busy`: what others used of the processor between runs, 0 to 1."""

    edgechat: str
    processor: str
    cores: int
    runs: int
    busy: float | None
    addresses: tuple[Place, ...]
    probes: tuple[Found, ...]

    @property
    def failed(self) -> bool:
        """Whether a run that should have given figures gave none."""
        return any(probe.failed for probe in self.probes)


def report(addresses: Sequence[Address], runs: int, measured: Measured) -> Report:
    """`measured`, put together."""
    places = tuple(Place(one.label, one.url, measured.models.get(one.label), one.command) for one in addresses)
    names = dict.fromkeys(outcome.probe for outcome in measured.outcomes)
    probes = tuple(
        _found(name, places, [outcome for outcome in measured.outcomes if outcome.probe == name]) for name in names
    )
    return Report(
        edgechat=__version__,
        processor=machine.processor()[0],
        cores=machine.cores(),
        runs=runs,
        busy=round(median(measured.busy), DIGITS) if measured.busy else None,
        addresses=places,
        probes=probes,
    )


def _found(name: str, places: Sequence[Place], outcomes: Sequence[Outcome]) -> Found:
    rows = (_row(name, figure, places, outcomes) for figure in PROBES[name].figures)
    return Found(
        name=name,
        about=PROBES[name].about,
        figures=tuple(row for row in rows if row.values),
        skipped=tuple(Trouble(one.label, one.run, one.skipped) for one in outcomes if one.skipped is not None),
        failed=tuple(Trouble(one.label, one.run, one.failed) for one in outcomes if one.failed is not None),
    )


def _row(name: str, figure: str, places: Sequence[Place], outcomes: Sequence[Outcome]) -> Row:
    values: list[Value] = []
    first: float | None = None  # the first address's median
    for place in places:
        given = (one.figures for one in outcomes if one.label == place.label and one.figures is not None)
        readings = tuple(round(figures[figure], DIGITS) for figures in given if figure in figures)
        if not readings:
            continue
        middle = median(readings)
        if place is places[0]:
            first = middle
        ratio = round(middle / first, DIGITS) if first else None
        values.append(Value(place.label, readings, middle, min(readings), max(readings), ratio))
    about = PROBES[name].figures[figure]
    return Row(figure, about.about, about.unit, about.better, tuple(values))


def show(found: Report, console: Console) -> None:
    """Tables for people, in their language; documents and pages have the names that do not change."""
    head, once = f"{found.processor}, {found.cores} cores", found.runs == 1
    console.print(t(f"{head}; 1 run, alternating" if once else f"{head}; {found.runs} runs, alternating"), markup=False)
    if found.busy is not None and found.busy > QUIET:
        busy = f"Others used {found.busy:.0%} of the processor between runs: repeat this on a quiet machine."
        console.print(t(busy))
    for place in found.addresses:
        console.print(f"{place.label}  {place.command or place.url}  {place.model or '?'}", markup=False)
    known: set[tuple[str, str]] = set()  # why an address is skipped: said once, where that holds for more probes
    for probe in found.probes:
        skipped = [one for one in probe.skipped if (one.address, one.why) not in known]
        known |= {(one.address, one.why) for one in skipped}
        if not (probe.figures or skipped or probe.failed):
            continue
        console.print(f"\n{probe.name}: {t(probe.about)}", markup=False)
        if probe.figures:
            console.print(_table(probe, [place.label for place in found.addresses]))
        for word, troubles in (("skipped", skipped), ("failed", probe.failed)):
            for one in troubles:
                run = f" run {one.run}" if one.run else ""
                console.print(f"  {t(f'{word} {one.address}{run}: {one.why}')}", markup=False)


def _table(probe: Found, labels: Sequence[str]) -> Table:
    table = Table("", "", box=None)
    for label in labels:
        table.add_column(label, justify="right")
        table.add_column(t("min–max"), justify="right", style="dim")
    for label in labels[1:]:
        table.add_column(f"{label} / {labels[0]}", justify="right")
    for row in probe.figures:
        by_label = {value.address: value for value in row.values}
        cells = [t(row.about), row.unit]
        for label in labels:
            value = by_label.get(label)
            cells += [number(value.median), f"{number(value.min)}–{number(value.max)}"] if value else ["–", ""]
        ratios = (by_label[label].ratio if label in by_label else None for label in labels[1:])
        table.add_row(*cells, *("–" if ratio is None else number(ratio) for ratio in ratios))
    return table


def number(value: float) -> str:
    """About three digits."""
    if value == round(value):
        return f"{value:.0f}"
    places = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 4
    return f"{value:.{places}f}"


def markdown(found: Report) -> str:
    """The tables as a page that can be kept."""
    lines = [f"# {found.processor}, {found.cores} cores", "", f"edgechat {found.edgechat}; {found.runs} runs each.", ""]
    lines += [f"* {place.label}: {place.command or place.url} {place.model or '?'}" for place in found.addresses]
    labels = [place.label for place in found.addresses]
    for probe in found.probes:
        lines += ["", f"## {probe.name}", "", f"{probe.about}.".capitalize(), ""]
        if probe.figures:
            lines += [f"| | | {' | '.join(labels)} |", f"|---|---|{'---:|' * len(labels)}"]
        for row in probe.figures:
            by_label = {value.address: value for value in row.values}
            cells = (_cell(by_label.get(label)) for label in labels)
            lines.append(f"| {row.about} | {row.unit} | {' | '.join(cells)} |")
        for word, troubles in (("skipped", probe.skipped), ("failed", probe.failed)):
            lines += [f"\n{word} at {one.address}: {one.why}" for one in troubles]
    return "\n".join(lines) + "\n"


def _cell(value: Value | None) -> str:
    if value is None:
        return "–"
    ratio = "" if value.ratio in (None, 1.0) else f", {number(value.ratio or 0)}×"
    return f"{number(value.median)} ({number(value.min)}–{number(value.max)}{ratio})"
