"""Speed against divergence, drawn with characters. Pure.

tok/s
18.2 │          ►IQ4_NL/IQ4_NL
     │ ·IQ4_NL/Q8_0
 9.1 │■Q5_0/Q8_0
     └─────────────────────────
      0                   0.081  KLD
"""

from collections.abc import Iterator, Sequence

from edgechat.tune.choice import Candidate

WIDTH, HEIGHT = 60, 12  # characters


def text(baseline: Candidate, candidates: Sequence[Candidate], chosen: Candidate) -> list[str]:
    """Lines of the plot: decode speed upwards, divergence to the right. Nothing where there is only one point."""
    points = [one for one in (baseline, *candidates) if one.quality is not None]
    if len(points) < 2:
        return []
    widest = max(_x(one) for one in points) or 1.0
    low, high = min(one.speed.decode for one in points), max(one.speed.decode for one in points)
    rows = [[" "] * WIDTH for _ in range(HEIGHT)]
    for one in sorted(points, key=lambda one: one == chosen):  # the chosen one on top
        mark = "►" if one == chosen else "■" if one == baseline else "·"
        column = round(_x(one) / widest * (WIDTH - 1))
        row = HEIGHT - 1 - round((one.speed.decode - low) / (high - low or 1.0) * (HEIGHT - 1))
        _write(rows[row], column, f"{mark}{one.recipe}")
    return ["", *_framed(rows, low, high, widest)]


def _x(one: Candidate) -> float:
    return one.quality.kld if one.quality else 0.0


def _write(row: list[str], column: int, label: str) -> None:
    """`label` with its mark at `column`; at the right edge the name stands to the left of the mark."""
    if column + len(label) > WIDTH:
        label, column = label[1:] + label[0], max(0, column - len(label) + 1)
    row[column : column + len(label)] = label[: WIDTH - column]


def _framed(rows: Sequence[Sequence[str]], low: float, high: float, widest: float) -> Iterator[str]:
    yield f"{'tok/s':>8}"
    for number, row in enumerate(rows):
        scale = f"{high:.1f}" if number == 0 else f"{low:.1f}" if number == HEIGHT - 1 else ""
        yield f"{scale:>8} │{''.join(row).rstrip()}"
    yield f"{'':>8} └{'─' * WIDTH}"
    yield f"{'':>10}0{f'{widest:.3f}  KLD':>{WIDTH - 1}}"
