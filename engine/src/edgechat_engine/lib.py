"""The C API: what edgechat uses of llama.h, ggml.h and gguf.h, and nothing else, under the names that it has there."""

from ctypes import (
    POINTER,
    c_bool,
    c_char_p,
    c_float,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_uint8,
    c_uint32,
    c_uint64,
    c_void_p,
)

from edgechat_engine.library import clears_lazily, function
from edgechat_engine.structures import (
    ggml_type_traits,
    gguf_init_params,
    llama_batch,
    llama_context_params,
    llama_log_callback,
    llama_model_params,
    llama_model_quantize_params,
    llama_progress_callback,
    llama_token,
)

__all__ = [
    "gguf_init_params",
    "llama_batch",
    "llama_log_callback",
    "llama_progress_callback",
    "llama_token",
]  # and the functions below

_model = _context = _vocabulary = _memory = _tensors = _header = _tensor = c_void_p
_floats, _position, _sequence = POINTER(c_float), c_int32, c_int32

llama_backend_init = function("llama_backend_init", None)
llama_log_set = function("llama_log_set", None, llama_log_callback, c_void_p)
llama_print_system_info = function("llama_print_system_info", c_char_p)

llama_model_default_params = function("llama_model_default_params", llama_model_params)
llama_model_load_from_file = function("llama_model_load_from_file", _model, c_char_p, llama_model_params)
llama_model_n_params = function("llama_model_n_params", c_uint64, _model)
llama_model_is_recurrent = function("llama_model_is_recurrent", c_bool, _model)
llama_model_is_hybrid = function("llama_model_is_hybrid", c_bool, _model)
llama_model_n_swa = function("llama_model_n_swa", c_int32, _model)
llama_model_n_embd_inp = function("llama_model_n_embd_inp", c_int32, _model)
llama_model_rope_type = function("llama_model_rope_type", c_int, _model)
llama_model_get_vocab = function("llama_model_get_vocab", _vocabulary, _model)
llama_model_free = function("llama_model_free", None, _model)
llama_model_quantize_default_params = function("llama_model_quantize_default_params", llama_model_quantize_params)
llama_model_quantize = function(
    "llama_model_quantize", c_uint32, c_char_p, c_char_p, POINTER(llama_model_quantize_params)
)

llama_vocab_n_tokens = function("llama_vocab_n_tokens", c_int32, _vocabulary)
llama_vocab_get_attr = function("llama_vocab_get_attr", c_int, _vocabulary, llama_token)
llama_vocab_get_text = function("llama_vocab_get_text", c_char_p, _vocabulary, llama_token)
llama_vocab_get_add_bos = function("llama_vocab_get_add_bos", c_bool, _vocabulary)
llama_vocab_bos = function("llama_vocab_bos", llama_token, _vocabulary)
llama_vocab_is_eog = function("llama_vocab_is_eog", c_bool, _vocabulary, llama_token)
llama_tokenize = function(
    "llama_tokenize", c_int32, _vocabulary, c_char_p, c_int32, POINTER(llama_token), c_int32, c_bool, c_bool
)
llama_token_to_piece = function(
    "llama_token_to_piece", c_int32, _vocabulary, llama_token, c_char_p, c_int32, c_int32, c_bool
)

llama_context_default_params = function("llama_context_default_params", llama_context_params)
llama_init_from_model = function("llama_init_from_model", _context, _model, llama_context_params)
llama_set_n_threads = function("llama_set_n_threads", None, _context, c_int32, c_int32)
llama_free = function("llama_free", None, _context)

llama_batch_init = function("llama_batch_init", llama_batch, c_int32, c_int32, c_int32)
llama_batch_free = function("llama_batch_free", None, llama_batch)
llama_decode = function("llama_decode", c_int32, _context, llama_batch)
llama_get_logits = function("llama_get_logits", _floats, _context)
llama_get_logits_ith = function("llama_get_logits_ith", _floats, _context, c_int32)
llama_get_embeddings_seq = function("llama_get_embeddings_seq", _floats, _context, _sequence)

llama_get_memory = function("llama_get_memory", _memory, _context)
llama_memory_clear = function("llama_memory_clear", None, _memory, c_bool)
llama_memory_seq_rm = function("llama_memory_seq_rm", c_bool, _memory, _sequence, _position, _position)
llama_memory_seq_pos_min = function("llama_memory_seq_pos_min", _position, _memory, _sequence)
llama_memory_seq_cp = function("llama_memory_seq_cp", None, _memory, _sequence, _sequence, _position, _position)
llama_state_seq_get_size = function("llama_state_seq_get_size", c_size_t, _context, _sequence)
llama_state_seq_get_data = function(
    "llama_state_seq_get_data", c_size_t, _context, POINTER(c_uint8), c_size_t, _sequence
)
llama_state_seq_set_data = function(
    "llama_state_seq_set_data", c_size_t, _context, POINTER(c_uint8), c_size_t, _sequence
)
llama_state_seq_get_size_ext = function("llama_state_seq_get_size_ext", c_size_t, _context, _sequence, c_uint32)
llama_state_seq_get_data_ext = function(
    "llama_state_seq_get_data_ext", c_size_t, _context, POINTER(c_uint8), c_size_t, _sequence, c_uint32
)
llama_state_seq_set_data_ext = function(
    "llama_state_seq_set_data_ext", c_size_t, _context, POINTER(c_uint8), c_size_t, _sequence, c_uint32
)

ggml_get_type_traits = function("ggml_get_type_traits", POINTER(ggml_type_traits), c_int)
ggml_get_tensor = function("ggml_get_tensor", _tensor, _tensors, c_char_p)
ggml_free = function("ggml_free", None, _tensors)

gguf_init_from_file = function("gguf_init_from_file", _header, c_char_p, gguf_init_params)
gguf_init_empty = function("gguf_init_empty", _header)
gguf_set_kv = function("gguf_set_kv", None, _header, _header)
gguf_remove_key = function("gguf_remove_key", c_int64, _header, c_char_p)
gguf_find_key = function("gguf_find_key", c_int64, _header, c_char_p)
gguf_get_arr_type = function("gguf_get_arr_type", c_int, _header, c_int64)
gguf_get_arr_data = function("gguf_get_arr_data", c_void_p, _header, c_int64)
gguf_set_arr_data = function("gguf_set_arr_data", None, _header, c_char_p, c_int, c_void_p, c_size_t)
gguf_set_val_u32 = function("gguf_set_val_u32", None, _header, c_char_p, c_uint32)
gguf_add_tensor = function("gguf_add_tensor", None, _header, _tensor)
gguf_set_tensor_type = function("gguf_set_tensor_type", None, _header, c_char_p, c_int)
gguf_write_to_file = function("gguf_write_to_file", c_bool, _header, c_char_p, c_bool)
gguf_free = function("gguf_free", None, _header)

# engine/memory.cpp, which is for Linux
engine_enlarge = function("engine_enlarge", c_size_t, c_void_p, c_size_t, POINTER(c_int)) if clears_lazily else None
engine_ahead = function("engine_ahead", c_size_t, c_void_p, c_size_t) if clears_lazily else None
engine_cells = function("engine_cells", c_size_t, POINTER(c_size_t * 2), c_size_t) if clears_lazily else None
