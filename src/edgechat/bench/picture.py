"""Bars of every figure, as one PNG. Needs matplotlib, the extra `plot`: too heavy for everyone."""

from importlib.util import find_spec
from pathlib import Path

from edgechat.bench.report import Report
from edgechat.errors import ConfigError

COLUMNS = 4
INCH = 2.4  # of a small picture, each way


def check() -> None:
    """Raise ConfigError unless pictures can be drawn."""
    if find_spec("matplotlib") is None:
        raise ConfigError("a PNG needs matplotlib: pip install '.[plot]' in edgechat's folder, or leave --png away.")


def draw(found: Report, path: Path) -> None:
    """Write one small picture for each figure to `path`: medians as bars, minimum to maximum as whiskers."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib.figure import Figure

    rows = [(probe.name, row) for probe in found.probes for row in probe.figures]
    lines = max(1, -(-len(rows) // COLUMNS))
    picture = Figure(figsize=(COLUMNS * INCH * 1.3, lines * INCH), layout="constrained")
    for place, (name, row) in enumerate(rows, 1):
        axes = picture.add_subplot(lines, COLUMNS, place)
        medians = [value.median for value in row.values]
        whiskers = [
            [value.median - value.min for value in row.values],
            [value.max - value.median for value in row.values],
        ]
        axes.bar([value.address for value in row.values], medians, yerr=whiskers, color="#4c72b0", width=0.6)
        axes.set_title(f"{name}: {row.about}", fontsize=7)
        axes.set_ylabel(row.unit, fontsize=7)
        axes.tick_params(labelsize=7)
    picture.savefig(path, dpi=120)
