"""libmtmd: what edgechat uses of mtmd.h, under the names that it has there (multimodal projectors).

Importing it loads a library of its own, which a process that sees nothing does without.
"""

import ctypes
import os
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int, c_int32, c_size_t, c_uint32, c_void_p

from edgechat_engine import library
from edgechat_engine.structures import (
    ggml_backend_sched_eval_callback,
    llama_log_callback,
    mtmd_context_params,
    mtmd_decoder_pos,
    mtmd_input_text,
)

__all__ = ["ggml_backend_sched_eval_callback", "mtmd_input_text"]  # and the functions below

_mtmd = ctypes.CDLL(os.fspath(next(library.FOLDER.glob("libmtmd.*"))))
_context = _model = _bitmap = _chunks = _chunk = _tokens = c_void_p

TEXT, IMAGE = 0, 1  # mtmd_input_chunk_type

mtmd_default_marker = library.function("mtmd_default_marker", c_char_p, of=_mtmd)
mtmd_context_params_default = library.function("mtmd_context_params_default", mtmd_context_params, of=_mtmd)
mtmd_init_from_file = library.function("mtmd_init_from_file", _context, c_char_p, _model, mtmd_context_params, of=_mtmd)
mtmd_free = library.function("mtmd_free", None, _context, of=_mtmd)
mtmd_support_vision = library.function("mtmd_support_vision", c_bool, _context, of=_mtmd)
mtmd_decode_use_mrope = library.function("mtmd_decode_use_mrope", c_bool, _context, of=_mtmd)
mtmd_decode_use_non_causal = library.function("mtmd_decode_use_non_causal", c_bool, _context, _chunk, of=_mtmd)

mtmd_bitmap_init = library.function("mtmd_bitmap_init", _bitmap, c_uint32, c_uint32, c_char_p, of=_mtmd)
mtmd_bitmap_free = library.function("mtmd_bitmap_free", None, _bitmap, of=_mtmd)
mtmd_tokenize = library.function(
    "mtmd_tokenize",
    c_int32,
    _context,
    _chunks,
    POINTER(mtmd_input_text),
    POINTER(_bitmap),
    c_size_t,
    of=_mtmd,
)

mtmd_input_chunks_init = library.function("mtmd_input_chunks_init", _chunks, of=_mtmd)
mtmd_input_chunks_size = library.function("mtmd_input_chunks_size", c_size_t, _chunks, of=_mtmd)
mtmd_input_chunks_get = library.function("mtmd_input_chunks_get", _chunk, _chunks, c_size_t, of=_mtmd)
mtmd_input_chunks_free = library.function("mtmd_input_chunks_free", None, _chunks, of=_mtmd)
mtmd_input_chunk_get_type = library.function("mtmd_input_chunk_get_type", c_int, _chunk, of=_mtmd)
mtmd_input_chunk_get_tokens_text = library.function(
    "mtmd_input_chunk_get_tokens_text", POINTER(c_int32), _chunk, POINTER(c_size_t), of=_mtmd
)
mtmd_input_chunk_get_tokens_image = library.function("mtmd_input_chunk_get_tokens_image", _tokens, _chunk, of=_mtmd)
mtmd_input_chunk_get_n_tokens = library.function("mtmd_input_chunk_get_n_tokens", c_size_t, _chunk, of=_mtmd)
mtmd_input_chunk_get_n_pos = library.function("mtmd_input_chunk_get_n_pos", c_int32, _chunk, of=_mtmd)
mtmd_image_tokens_get_decoder_pos = library.function(
    "mtmd_image_tokens_get_decoder_pos", mtmd_decoder_pos, _tokens, c_int32, c_size_t, of=_mtmd
)

mtmd_encode_chunk = library.function("mtmd_encode_chunk", c_int32, _context, _chunk, of=_mtmd)
mtmd_get_output_embd = library.function("mtmd_get_output_embd", POINTER(c_float), _context, of=_mtmd)

# engine/senses.cpp
engine_encode_threads = library.function("engine_encode_threads", None, c_int, of=_mtmd)

library.function("mtmd_log_set", None, llama_log_callback, c_void_p, of=_mtmd)(library.log, None)
