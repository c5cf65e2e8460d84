"""A race in rounds: which recipe goes on to the next round, and which is chosen. Pure.

Successive halving: what a look costs grows from round to round, the number of candidates falls.

    predicted   all pairs of types          speed from twins of a few layers
    round 1     the MOST fastest hopefuls   quality over a few rows
    round 2     half of them                quality over all rows; where none keeps the floor, a finer one
    race        half of these, and the file as it is, in turns: speed of the whole model
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, get_args

from edgechat.tune.quality import Quality
from edgechat.tune.recipes import Recipe
from edgechat.tune.speed import Speed
from edgechat.types import Struct

QualityName = Literal["faithful", "balanced", "fast"]
QUALITIES: tuple[QualityName, ...] = get_args(QualityName)

# Highest mean KL divergence from the source, in nats. For scale: 0.06 leaves about 85 of a hundred likeliest tokens as
# they were, 0.01 about 95.
FLOORS: dict[QualityName, float] = {"faithful": 0.01, "balanced": 0.06, "fast": 0.15}

MOST = 5  # candidates of the first round
HOPE = 2.0  # times the floor that a recipe's usual divergence may be to be tried
WORTH = 1.03  # times faster than the file as it is, or it is not worth another file


class Candidate(Struct, frozen=True):
    """A recipe and what is known about it. `measured`: the whole model was timed, not only twins of a few layers."""

    recipe: str
    size: int  # bytes
    speed: Speed
    quality: Quality | None = None
    measured: bool = False


def hopefuls(speeds: Mapping[Recipe, Speed], floor: float, most: int = MOST) -> list[Recipe]:
    """The fastest recipes that may keep `floor`, and always the fastest that surely does."""
    fastest = sorted(speeds, key=lambda recipe: (speeds[recipe].turn, str(recipe)))
    tried = [recipe for recipe in fastest if recipe.usual <= HOPE * floor][:most]
    safe = [recipe for recipe in fastest if recipe.usual <= floor / 2][:1]
    return [*tried[: most - 1], *safe] if safe and safe[0] not in tried else tried


def half(candidates: Sequence[Candidate], floor: float) -> list[Candidate]:
    """The better half: who has a chance to keep the floor, the fastest first; where nobody has, the most faithful."""
    able = [one for one in candidates if one.quality is not None and not one.quality.hopeless(floor)]
    able.sort(key=lambda one: (not _keeps(one, floor), one.speed.turn))
    places = max(1, (len(candidates) + 1) // 2)
    return able[:places] or sorted(candidates, key=_divergence)[:1]


def finer(speeds: Mapping[Recipe, Speed], tried: Sequence[Candidate], floor: float) -> Recipe | None:
    """The fastest that should keep `floor` where none of those `tried` does: this model suffers more than usual."""
    if not tried or any(_keeps(one, floor) for one in tried):
        return None
    strain = min(_divergence(one) / Recipe.parse(one.recipe).usual for one in tried)
    able = [recipe for recipe in speeds if recipe.usual * strain <= floor]
    able = [recipe for recipe in able if str(recipe) not in {one.recipe for one in tried}]
    return min(able, key=lambda recipe: (speeds[recipe].turn, str(recipe)), default=None)


def choose(baseline: Candidate, candidates: Iterable[Candidate], floor: float) -> Candidate:
    """The fastest that keeps the floor; the file as it is, unless another one is really faster."""
    able = [one for one in candidates if one.measured and _keeps(one, floor)]
    best = min(able, key=lambda one: one.speed.turn, default=baseline)
    return best if best.speed.turn * WORTH <= baseline.speed.turn else baseline


def pareto(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Those that no other one beats in both speed and quality, the fastest first."""
    front: list[Candidate] = []
    for one in sorted(candidates, key=lambda one: (one.speed.turn, _divergence(one))):
        if one.quality is not None and all(_divergence(one) < _divergence(other) for other in front):
            front.append(one)
    return front


def _keeps(candidate: Candidate, floor: float) -> bool:
    return candidate.quality is not None and candidate.quality.within(floor)


def _divergence(candidate: Candidate) -> float:
    return float("inf") if candidate.quality is None else candidate.quality.kld
