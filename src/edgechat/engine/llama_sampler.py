"""How a token is drawn from llama.cpp's logits: its own sampler chain, with a guide's mask and scores around it.

    logits ─► scores (the model's own, before anything bends them)
       └────► bias, penalties ─► mask of the guide ─► chain: cuts, temperature, draw ─► token ─► guide

The vocabulary is never sorted or searched: with 150,000 tokens that would cost as much as a tenth of the step.
llama.cpp's own sampler of penalties asks of every token whether it was said (2 ms of a step of 50 on two cores);
here only those that were said are touched.
"""

import ctypes
import os
from collections import Counter
from typing import TYPE_CHECKING

from msgspec import structs

from edgechat.engine.base import Guide
from edgechat.engine.bindings import lib
from edgechat.engine.logits import bend, hold_to, scored
from edgechat.types import Sampling, Scored, Tokenizer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Chain:
    """A llama.cpp sampler chain behind our own bias and penalties; `Sampler` of base.py."""

    def __init__(self, sampling: Sampling, tokenizer: Tokenizer, guide: Guide | None, top: int | None) -> None:
        self.scored: Scored | None = None
        within = {token: bias for token, bias in sampling.logit_bias.items() if 0 <= token < tokenizer.size}
        self._sampling = structs.replace(sampling, logit_bias=within)  # C memory is not asked beyond its end
        self._said: Counter[int] = Counter()
        self._tokenizer = tokenizer
        self._guide = guide
        self._top = top
        self._pointer = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        for sampler in _samplers(sampling):
            lib.llama_sampler_chain_add(self._pointer, sampler)

    def draw(self, context: ctypes.c_void_p, row: int) -> int:
        """The token after the batch's row `row`."""
        pointer = lib.llama_get_logits_ith(context, row)
        raw = self._row(pointer).copy() if self._top is not None else None
        bend(pointer, self._sampling, self._said)
        if self._guide is not None:
            hold_to(self._guide, self._row(pointer))
        if self._sampling.temperature == 0:
            token = int(self._row(pointer).argmax())  # a chain would copy the vocabulary first: 0.2 ms
        else:
            token = int(lib.llama_sampler_sample(self._pointer, context, row))
        self._said[token] += 1
        if self._guide is not None:
            self._guide.accept(token)
        if raw is not None and self._top is not None:
            self.scored = scored(raw, token, self._top, self._tokenizer)
        return token

    def _row(self, pointer: "ctypes._Pointer[ctypes.c_float]") -> "NDArray[np.float32]":
        import numpy as np  # a fifth of a worker's start, for those who need it

        return np.ctypeslib.as_array(pointer, shape=(self._tokenizer.size,))

    def close(self) -> None:
        if self._pointer:
            lib.llama_sampler_free(self._pointer)
            self._pointer = None


def _samplers(s: Sampling) -> list[object]:
    chain: list[object] = []
    if s.top_k:
        chain.append(lib.llama_sampler_init_top_k(s.top_k))
    if s.top_p < 1:
        chain.append(lib.llama_sampler_init_top_p(s.top_p, 1))
    if s.min_p:
        chain.append(lib.llama_sampler_init_min_p(s.min_p, 1))
    chain.append(lib.llama_sampler_init_temp(s.temperature))
    seed = int.from_bytes(os.urandom(4)) if s.seed is None else s.seed & 0xFFFFFFFF
    return [*chain, lib.llama_sampler_init_dist(seed)]
