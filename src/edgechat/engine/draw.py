"""How a token is drawn from logits that lie in Python's memory: the same steps, in the same order, as llama.cpp's.

logits ─► scores ─► bias, penalties ─► mask of the guide ─► top k ─► top p ─► min p ─► temperature ─► draw
"""

from collections import Counter

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from edgechat.engine.base import Guide
from edgechat.engine.logits import bend, hold_to, largest, scored
from edgechat.types import Sampling, Scored, Tokenizer

Floats = NDArray[np.float32]


class Draw:
    """Draws the tokens of one answer; `Sampler` of base.py."""

    def __init__(self, sampling: Sampling, tokenizer: Tokenizer, guide: Guide | None, top: int | None) -> None:
        self.scored: Scored | None = None
        within = {token: bias for token, bias in sampling.logit_bias.items() if 0 <= token < tokenizer.size}
        self._sampling = structs.replace(sampling, logit_bias=within)
        self._said: Counter[int] = Counter()
        self._tokenizer, self._guide, self._top = tokenizer, guide, top
        self._chance = np.random.default_rng(None if sampling.seed is None else sampling.seed & 0xFFFFFFFF)

    def draw(self, logits: Floats) -> int:
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

    def _drawn(self, logits: Floats) -> int:
        if self._sampling.temperature == 0:
            return int(logits.argmax())
        tokens = likeliest(logits, self._sampling)
        weights = np.exp((logits[tokens] - logits[tokens[0]]).astype(np.float64) / self._sampling.temperature)
        return int(self._chance.choice(tokens, p=weights / weights.sum()))

    def close(self) -> None:
        """Nothing is held."""


def likeliest(logits: Floats, sampling: Sampling) -> NDArray[np.int64]:
    """The tokens that top k, top p and min p leave, the likeliest first; at least one."""
    tokens = largest(logits, min(sampling.top_k or len(logits), len(logits)))
    shares = np.exp((logits[tokens] - logits[tokens[0]]).astype(np.float64))
    if sampling.top_p < 1:
        before = np.cumsum(shares) / shares.sum() - shares / shares.sum()
        kept = max(1, int((before < sampling.top_p).sum()))
        tokens, shares = tokens[:kept], shares[:kept]
    if sampling.min_p:
        tokens = tokens[: max(1, int((shares >= sampling.min_p).sum()))]
    return tokens
