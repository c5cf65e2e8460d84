"""A cost model: how fast a recipe is, predicted from its parts, and put into one number. Pure.

A step reads every layer and, where a token is drawn, the head. So two small models tell what a large one costs:

    decode step(n layers) = rest + head + n * layer        rest is common to all
    prompt token(n)       =               n * layer        no token is drawn, no head is read

Measured once per type on twins of FEW and of MORE layers, that gives the speed of every pair of body and head.
"""

from collections.abc import Iterable, Mapping
from statistics import median

from edgechat.tune.recipes import Recipe
from edgechat.types import Struct

READ, WRITTEN = 256, 128  # tokens of the turn whose time is the one number
FEW, MORE = 1, 5  # layers of the twins, where the model has as many
DOUBT = 1.5  # times more or less than its weights let expect that a layer may take


class Timing(Struct, frozen=True):
    """Seconds of one decode step and of one prompt token."""

    step: float
    token: float


class Cost(Struct, frozen=True):
    """What one type costs, in seconds: a layer and the head of a decode step, a layer of a prompt token."""

    layer: float
    head: float
    prompt: float

    @classmethod
    def of(cls, few: Timing, more: Timing, share: float, layers: int = MORE) -> "Cost":
        """From the twins with FEW and with more `layers`. `rest` is counted with the head.

        `share` of the larger twin's weights are in its layers. Decoding waits for weights, so a layer takes about its
        part of the step; a difference far from that was disturbed.
        """
        part = share * more.step / layers
        layer = min(max((more.step - few.step) / (layers - FEW), part / DOUBT), part * DOUBT, more.step / layers)
        return cls(layer, more.step - layers * layer, more.token / layers)

    def shared(self, layers: int) -> "Cost":
        """That of one layer, where it was measured on so many at a time."""
        return Cost(self.layer / layers, self.head, self.prompt / layers)


class Speed(Struct, frozen=True):
    """Tokens per second: reading a prompt, writing alone, and writing for four at once (all together)."""

    prefill: float
    decode: float
    together: float | None = None

    @property
    def turn(self) -> float:
        """Seconds of a usual turn: READ tokens read, WRITTEN written."""
        return READ / self.prefill + WRITTEN / self.decode


def predicted(recipe: Recipe, costs: Mapping[str, Cost], layers: int) -> Speed:
    """The speed of `recipe` in a model of so many layers."""
    body, head = costs[recipe.body], costs[recipe.head]
    return Speed(1 / (layers * body.prompt), 1 / (layers * body.layer + head.head))


class Pair(Struct, frozen=True):
    """The file as it is and a candidate, timed in turns."""

    baseline: Speed
    own: Speed


def usual(pairs: Iterable[Pair]) -> Speed:
    """The file as it is: medians over all races."""
    runs = [pair.baseline for pair in pairs]
    together = median(run.together or run.decode for run in runs)
    return Speed(median(run.prefill for run in runs), median(run.decode for run in runs), together)


def beside(pair: Pair, baseline: Speed) -> Speed:
    """The candidate's speed as it would have been while the file as it is ran at its `usual` speed.

    A machine's speed drifts between two races; what was timed in turns has a ratio that does not.
    """
    together = None
    if pair.own.together and pair.baseline.together and baseline.together:
        together = pair.own.together * baseline.together / pair.baseline.together
    prefill = pair.own.prefill * baseline.prefill / pair.baseline.prefill
    return Speed(prefill, pair.own.decode * baseline.decode / pair.baseline.decode, together)
