"""llama.cpp's own samplers, which our drawing is held to."""

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, c_bool, c_float, c_int32, c_int64, c_size_t, c_void_p

from edgechat_engine.library import function


class Row(ctypes.Structure):
    """llama_token_data."""

    _fields_ = (("id", c_int32), ("logit", c_float), ("p", c_float))


class Rows(ctypes.Structure):
    """llama_token_data_array."""

    _fields_ = (("data", POINTER(Row)), ("size", c_size_t), ("selected", c_int64), ("sorted", c_bool))


class Bias(ctypes.Structure):
    """llama_logit_bias."""

    _fields_ = (("token", c_int32), ("bias", c_float))


top_k = function("llama_sampler_init_top_k", c_void_p, c_int32)
top_p = function("llama_sampler_init_top_p", c_void_p, c_float, c_size_t)
min_p = function("llama_sampler_init_min_p", c_void_p, c_float, c_size_t)
penalties = function("llama_sampler_init_penalties", c_void_p, c_int32, c_int32, c_float, c_float, c_float)
logit_bias = function("llama_sampler_init_logit_bias", c_void_p, c_int32, c_int32, POINTER(Bias))
_accept = function("llama_sampler_accept", None, c_void_p, c_int32)
_apply = function("llama_sampler_apply", None, c_void_p, POINTER(Rows))
_free = function("llama_sampler_free", None, c_void_p)


def left(logits: Sequence[float], samplers: Sequence[int], said: Sequence[int] = ()) -> list[tuple[int, float]]:
    """(token, logit) of what the samplers leave, one after the other; `said` are the tokens so far."""
    rows = (Row * len(logits))(*[Row(token, logit, 0.0) for token, logit in enumerate(logits)])
    held = Rows(rows, len(logits), -1, False)
    for sampler in samplers:
        for token in said:
            _accept(sampler, token)
        _apply(sampler, held)
        _free(sampler)
    return [(held.data[at].id, held.data[at].logit) for at in range(held.size)]
