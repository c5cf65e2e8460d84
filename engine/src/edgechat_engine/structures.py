"""Structures and callbacks of llama.h, ggml.h, gguf.h and mtmd.h, as ctypes has them (foreign function interface).

The compiler holds them to the headers: run as a script with a library's name, this prints C++ that compiles only if
every field lies where it is said to, and overlay.cmake compiles it into that library. Fields have the headers' names.
"""

import ctypes
import sys
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int, c_int8, c_int32, c_int64, c_size_t, c_uint32, c_void_p

llama_token = c_int32
llama_log_callback = ctypes.CFUNCTYPE(None, c_int, c_char_p, c_void_p)  # level, text, data
ggml_backend_sched_eval_callback = ctypes.CFUNCTYPE(c_bool, c_void_p, c_bool, c_void_p)  # node, asked before it, data
llama_progress_callback = ctypes.CFUNCTYPE(c_bool, c_float, c_void_p)  # fraction, data; False ends the loading


class llama_model_params(ctypes.Structure):  # noqa: N801 - the headers' name, as everywhere here
    """How weights are loaded."""

    _fields_ = (
        ("devices", c_void_p),
        ("tensor_buft_overrides", c_void_p),
        ("n_gpu_layers", c_int32),
        ("split_mode", c_int),
        ("load_mode", c_int),
        ("lazy_mode", c_int),
        ("main_gpu", c_int32),
        ("tensor_split", c_void_p),
        ("progress_callback", llama_progress_callback),
        ("progress_callback_user_data", c_void_p),
        ("kv_overrides", c_void_p),
        ("vocab_only", c_bool),
        ("check_tensors", c_bool),
        ("use_extra_bufts", c_bool),
        ("no_host", c_bool),
        ("no_alloc", c_bool),
        ("load_mtp", c_bool),
    )


class llama_context_params(ctypes.Structure):  # noqa: N801
    """What a context holds and how it computes."""

    _fields_ = (
        ("n_ctx", c_uint32),
        ("n_batch", c_uint32),
        ("n_ubatch", c_uint32),
        ("n_seq_max", c_uint32),
        ("n_rs_seq", c_uint32),
        ("n_outputs_max", c_uint32),
        ("n_outputs_max_per_seq", c_uint32),
        ("n_threads", c_int32),
        ("n_threads_batch", c_int32),
        ("ctx_type", c_int),
        ("rope_scaling_type", c_int),
        ("pooling_type", c_int),
        ("attention_type", c_int),
        ("flash_attn_type", c_int),
        ("rope_freq_base", c_float),
        ("rope_freq_scale", c_float),
        ("yarn_ext_factor", c_float),
        ("yarn_attn_factor", c_float),
        ("yarn_beta_fast", c_float),
        ("yarn_beta_slow", c_float),
        ("yarn_orig_ctx", c_uint32),
        ("defrag_thold", c_float),
        ("cb_eval", c_void_p),
        ("cb_eval_user_data", c_void_p),
        ("type_k", c_int),
        ("type_v", c_int),
        ("abort_callback", c_void_p),
        ("abort_callback_data", c_void_p),
        ("embeddings", c_bool),
        ("offload_kqv", c_bool),
        ("no_perf", c_bool),
        ("op_offload", c_bool),
        ("swa_full", c_bool),
        ("kv_unified", c_bool),
        ("samplers", c_void_p),
        ("n_samplers", c_size_t),
        ("ctx_other", c_void_p),
    )


class llama_batch(ctypes.Structure):  # noqa: N801
    """The tokens of a step, a row each."""

    _fields_ = (
        ("n_tokens", c_int32),
        ("token", POINTER(llama_token)),
        ("embd", POINTER(c_float)),
        ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)),
        ("seq_id", POINTER(POINTER(c_int32))),
        ("logits", POINTER(c_int8)),
    )


class llama_model_quantize_params(ctypes.Structure):  # noqa: N801
    """How a file is quantised."""

    _fields_ = (
        ("nthread", c_int32),
        ("ftype", c_int),
        ("output_tensor_type", c_int),
        ("token_embedding_type", c_int),
        ("allow_requantize", c_bool),
        ("quantize_output_tensor", c_bool),
        ("only_copy", c_bool),
        ("pure", c_bool),
        ("keep_split", c_bool),
        ("dry_run", c_bool),
        ("imatrix", c_void_p),
        ("kv_overrides", c_void_p),
        ("tt_overrides", c_void_p),
        ("prune_layers", c_void_p),
        ("max_buf_size", c_size_t),
    )


class ggml_type_traits(ctypes.Structure):  # noqa: N801
    """A type of weights, with its two ways of rounding."""

    _fields_ = (
        ("type_name", c_char_p),
        ("blck_size", c_int64),
        ("blck_size_interleave", c_int64),
        ("type_size", c_size_t),
        ("is_quantized", c_bool),
        ("to_float", ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_int64)),
        ("from_float_ref", ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_int64)),
    )


class gguf_init_params(ctypes.Structure):  # noqa: N801
    """How a header is read."""

    _fields_ = (("no_alloc", c_bool), ("ctx", POINTER(c_void_p)))


class mtmd_context_params(ctypes.Structure):  # noqa: N801
    """How a projector is loaded, and how it encodes."""

    _fields_ = (
        ("use_gpu", c_bool),
        ("device", c_void_p),
        ("print_timings", c_bool),
        ("n_threads", c_int),
        ("image_marker", c_char_p),
        ("media_marker", c_char_p),
        ("flash_attn_type", c_int),
        ("warmup", c_bool),
        ("image_min_tokens", c_int),
        ("image_max_tokens", c_int),
        ("cb_eval", ggml_backend_sched_eval_callback),
        ("cb_eval_user_data", c_void_p),
        ("batch_max_tokens", c_int32),
        ("progress_callback", c_void_p),
        ("progress_callback_user_data", c_void_p),
    )


class mtmd_input_text(ctypes.Structure):  # noqa: N801
    """A text with marks where media are."""

    _fields_ = (("text", c_char_p), ("text_len", c_size_t), ("add_special", c_bool), ("parse_special", c_bool))


class mtmd_decoder_pos(ctypes.Structure):  # noqa: N801
    """Where a vector of a picture stands."""

    _fields_ = (("t", c_uint32), ("x", c_uint32), ("y", c_uint32), ("z", c_uint32))


HEADERS = {"llama": ("gguf.h", "llama.h"), "mtmd": ("mtmd.h",)}  # of each library


def assertions(library: str) -> str:
    """C++ that says where each field of the structures of `library` lies."""
    lines = [*(f'#include "{header}"' for header in HEADERS[library]), "#include <cstddef>"]
    for kind in ctypes.Structure.__subclasses__():
        if kind.__module__ != __name__:  # Python's own
            continue
        if kind.__name__.startswith("mtmd") != (library == "mtmd"):
            continue
        lines.append(f"static_assert(sizeof({kind.__name__}) == {ctypes.sizeof(kind)});")
        for name, *_ in kind._fields_:
            lines.append(f"static_assert(offsetof({kind.__name__}, {name}) == {getattr(kind, name).offset});")
    return "\n".join(lines)


if __name__ == "__main__":
    print(assertions(sys.argv[1]))  # noqa: T201
