"""Sampling: how a token is drawn from logits, whichever engine they come from: llama.cpp's steps in llama.cpp's order.

    logits ─► scores (the model's own, before anything bends them)
       └────► bias, penalties ─► mask of the guide ─► top k ─► top p ─► min p ─► temperature ─► draw ─► guide

The vocabulary is never sorted: with 150,000 tokens that would take as long as a third of the step. What top p leaves is
looked for among the likeliest only. Milliseconds a token for Qwen's 151,936, and what llama.cpp's own samplers took:

    greedy               0.01  (0.02)        top p 0.8                   0.2  (1.4)
    top k 20, top p 0.8  0.2   (0.1)         the same, flat logits       1.6  (9.8)
    everything           0.7   (1.3)
"""

from collections import Counter
from math import log
from typing import TYPE_CHECKING

from msgspec import structs

from edgechat.engine.base import Guide
from edgechat.engine.logits import bend, hold_to, largest, scored
from edgechat.prompt.tokenizer import Tokenizer
from edgechat.types import Sampling, Scored

if TYPE_CHECKING:  # a fifth of a worker's start, for those who need it
    import numpy as np
    from numpy.typing import NDArray

FLOOR = 745.0  # nats: what is less likely by more has a share of 0.0
DEPTH = 8.0  # nats below the likeliest: where top p is looked for first; doubled until there is enough


class Draw:
    """Draws the tokens of one answer; `Sampler` of base.py."""

    def __init__(self, sampling: Sampling, tokenizer: Tokenizer, guide: Guide | None, top: int | None) -> None:
        import numpy as np

        self.scored: Scored | None = None
        within = {token: bias for token, bias in sampling.logit_bias.items() if 0 <= token < tokenizer.size}
        self._sampling = structs.replace(sampling, logit_bias=within)  # C memory is not asked beyond its end
        self._said: Counter[int] = Counter()
        self._tokenizer, self._guide, self._top = tokenizer, guide, top
        self._chance = np.random.default_rng(None if sampling.seed is None else sampling.seed & 0xFFFFFFFF)

    def draw(self, logits: "NDArray[np.float32]") -> int:
        """The token after the position whose (vocabulary,) `logits` these are. They are written over."""
        raw = logits.copy() if self._top is not None else None
        bend(logits, self._sampling, self._said)
        if self._guide is not None:
            hold_to(self._guide, logits)
        token = self._drawn(logits)
        self._said[token] += 1
        if self._guide is not None:
            self._guide.accept(token)
        if raw is not None and self._top is not None:
            self.scored = scored(raw, token, self._top, self._tokenizer)
        return token

    def _drawn(self, logits: "NDArray[np.float32]") -> int:
        import numpy as np

        if self._sampling.temperature == 0:
            return int(logits.argmax())
        tokens = likeliest(logits, self._sampling)
        left = logits if tokens is None else logits[tokens]
        reached = np.exp((left - left.max()) / np.float32(self._sampling.temperature)).cumsum(dtype=np.float64)
        place = int(reached.searchsorted(self._chance.random() * reached[-1], side="right"))
        return place if tokens is None else int(tokens[place])


def likeliest(logits: "NDArray[np.float32]", sampling: Sampling) -> "NDArray[np.intp] | None":
    """The tokens that top k, top p and min p leave, the likeliest first; None for all of them."""
    import numpy as np

    if sampling.top_k:
        tokens = largest(logits, sampling.top_k)
        shares = np.exp((logits[tokens] - logits[tokens[0]]).astype(np.float64))
        return tokens[: _kept(shares, float(shares.sum()), sampling)]
    if sampling.top_p >= 1 and not sampling.min_p:
        return None
    below = logits - logits.max()
    total = float(np.exp(below).sum(dtype=np.float64))
    floor = 0.01 - log(sampling.min_p) if sampling.min_p else FLOOR  # nats below the likeliest: nothing deeper is left
    depth = min(DEPTH, floor)
    while True:
        tokens = np.flatnonzero(below >= -depth)
        tokens = tokens[np.argsort(-below[tokens], kind="stable")]
        shares = np.exp(below[tokens].astype(np.float64))
        kept = _kept(shares, total, sampling)
        if kept < len(tokens) or depth >= floor:
            return tokens[:kept]
        depth = min(2 * depth, floor)


def _kept(shares: "NDArray[np.float64]", total: float, sampling: Sampling) -> int:
    """How many of the tokens with these `shares` of `total`, the largest first, top p and min p leave; at least one."""
    kept = len(shares)
    if sampling.top_p < 1:
        kept = int(((shares.cumsum() - shares) / total < sampling.top_p).sum())
    if sampling.min_p:
        kept = min(kept, int((shares >= sampling.min_p * shares[0]).sum()))
    return max(1, kept)
