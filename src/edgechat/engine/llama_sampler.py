"""How a token is drawn from llama.cpp's logits: its own sampler chain, with a guide's mask and scores around it.

    logits ─► scores (the model's own, before anything bends them)
       └────► mask of the guide ─► chain: bias, penalties, cuts, temperature, draw ─► token ─► guide

The vocabulary is never sorted: with 150,000 tokens that would cost as much as a tenth of the step.
"""

import ctypes
import os
from typing import TYPE_CHECKING

from edgechat.engine.base import Guide
from edgechat.engine.bindings import lib
from edgechat.types import Sampling, Scored, Tokenizer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PENALTY_WINDOW = 1 << 15  # tokens: the whole answer


class Chain:
    """A llama.cpp sampler chain; `Sampler` of base.py. Order as llama.cpp's own tools have it."""

    def __init__(self, sampling: Sampling, tokenizer: Tokenizer, guide: Guide | None, top: int | None) -> None:
        self.scored: Scored | None = None
        self._tokenizer = tokenizer
        self._guide = guide
        self._top = top
        self._pointer = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        for sampler in _samplers(sampling, tokenizer.size):
            lib.llama_sampler_chain_add(self._pointer, sampler)

    def draw(self, context: ctypes.c_void_p, row: int) -> int:
        """The token after the batch's row `row`."""
        if self._guide is None and self._top is None:
            return int(lib.llama_sampler_sample(self._pointer, context, row))
        import numpy as np  # a fifth of a worker's start, for those who need it

        logits = np.ctypeslib.as_array(lib.llama_get_logits_ith(context, row), shape=(self._tokenizer.size,))
        raw = logits.copy() if self._top is not None else logits
        if self._guide is not None:
            allowed = np.unpackbits(np.frombuffer(self._guide.mask(), np.uint8), bitorder="little")
            np.putmask(logits, allowed[: len(logits)] == 0, -np.inf)
        token = int(lib.llama_sampler_sample(self._pointer, context, row))
        if self._guide is not None:
            self._guide.accept(token)
        if self._top is not None:
            self.scored = _scored(raw, token, self._top, self._tokenizer)
        return token

    def close(self) -> None:
        if self._pointer:
            lib.llama_sampler_free(self._pointer)
            self._pointer = None


def _scored(logits: "NDArray[np.float32]", token: int, top: int, tokenizer: Tokenizer) -> Scored:
    import numpy as np

    most = logits.max()
    total = float(most) + float(np.log(np.exp(logits - most).sum(dtype=np.float64)))

    def score(token: int) -> Scored:
        return Scored(token, tokenizer.piece(token), float(logits[token]) - total)

    best = np.argpartition(logits, -top)[-top:].tolist() if top else []
    ranked = sorted(map(score, best), key=lambda one: -one.logprob)
    drawn = score(token)
    return Scored(drawn.token, drawn.piece, drawn.logprob, tuple(ranked))


def _samplers(s: Sampling, vocabulary: int) -> list[object]:
    chain: list[object] = []
    if s.logit_bias:
        biases = (lib.llama_logit_bias * len(s.logit_bias))(*s.logit_bias.items())
        chain.append(lib.llama_sampler_init_logit_bias(vocabulary, len(biases), biases))
    if s.repetition_penalty != 1 or s.frequency_penalty or s.presence_penalty:
        rules = (s.repetition_penalty, s.frequency_penalty, s.presence_penalty)
        chain.append(lib.llama_sampler_init_penalties(vocabulary, PENALTY_WINDOW, *rules))
    if s.temperature == 0:
        return [*chain, lib.llama_sampler_init_greedy()]
    if s.top_k:
        chain.append(lib.llama_sampler_init_top_k(s.top_k))
    if s.top_p < 1:
        chain.append(lib.llama_sampler_init_top_p(s.top_p, 1))
    if s.min_p:
        chain.append(lib.llama_sampler_init_min_p(s.min_p, 1))
    chain.append(lib.llama_sampler_init_temp(s.temperature))
    seed = int.from_bytes(os.urandom(4)) if s.seed is None else s.seed & 0xFFFFFFFF
    return [*chain, lib.llama_sampler_init_dist(seed)]
