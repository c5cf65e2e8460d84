"""Speed against divergence as a PNG. Needs matplotlib, the extra `plot`: too heavy for everyone."""

from pathlib import Path

from edgechat.tune.choice import FLOORS, pareto
from edgechat.tune.record import Tuned


def draw(found: Tuned, path: Path) -> None:
    """Write a point for every recipe whose divergence is known to `path`; the line joins those that none beats."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib.figure import Figure

    points = [one for one in (found.baseline, *found.candidates) if one.quality is not None]
    picture = Figure(figsize=(7, 4.5), layout="constrained")
    axes = picture.add_subplot()
    axes.axvline(FLOORS[found.quality], color="#999999", linestyle=":", label=f"floor of {found.quality}")
    front = [one for one in pareto(points) if one.quality is not None]
    axes.plot([one.quality.kld for one in front if one.quality], [one.speed.decode for one in front], color="#bbbbbb")
    for one in points:
        assert one.quality is not None
        mark = "*" if one == found.chosen else "s" if one == found.baseline else "o"
        fill = "full" if one.measured else "none"  # a hollow point: speed predicted from a few layers
        at = (one.quality.kld, one.speed.decode)
        axes.errorbar(*at, xerr=one.quality.error, color="#4c72b0", marker=mark, markersize=9, fillstyle=fill)
        axes.annotate(one.recipe, at, xytext=(6, 5), textcoords="offset points", fontsize=8)
    axes.set_xlabel("mean KL divergence from the source")
    axes.set_ylabel("decode, tokens per second")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    picture.savefig(path, dpi=120)
