"""Tiny models with random weights, of the architectures that the engine computes (random initialisation).

llama.cpp itself tells which tensors an architecture has, and how large they are: it is given the keys alone.

    keys ─► a GGUF without tensors ─► the library asks for (name, shape) … ─► a GGUF with random weights
"""

import ctypes
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from edgechat.gguf.shape import DRAFTS
from edgechat_engine import lib
from edgechat_engine.library import function
from edgechat_engine.structures import llama_model_params
from tests.ggufs import gguf, write

Keys = dict[str, object]

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WIDTH, HEADS, HEAD = 64, 2, 32
_DENSE: Keys = {
    "context_length": 2048, "embedding_length": WIDTH, "feed_forward_length": 96, "block_count": 2,
    "attention.head_count": HEADS, "attention.head_count_kv": 1, "attention.key_length": HEAD,
    "attention.value_length": HEAD, "attention.layer_norm_rms_epsilon": 1e-6, "attention.layer_norm_epsilon": 1e-6,
    "rope.freq_base": 1e4,
}  # fmt: skip
_MIXTURE: Keys = {"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 32, "expert_gating_func": 2}
_SHARED: Keys = {"expert_shared_feed_forward_length": 32, "expert_shared_count": 1, "leading_dense_block_count": 1}
_DELTA: Keys = {
    "ssm.conv_kernel": 4, "ssm.inner_size": 64, "ssm.state_size": 32, "ssm.time_step_rank": 2, "ssm.group_count": 2,
    "full_attention_interval": 2, "rope.dimension_sections": [8, 4, 4, 0],
}  # fmt: skip
_SSM: Keys = {
    "ssm.conv_kernel": 4, "ssm.inner_size": 128, "ssm.state_size": 16, "ssm.time_step_rank": 4, "ssm.group_count": 2,
}  # fmt: skip
_WINDOW: Keys = {"attention.sliding_window": 32}
_EVERY_OTHER: Keys = {"attention.head_count_kv": [0, 1]}

# What each has beside the usual keys.
ARCHITECTURES: dict[str, Keys] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "qwen3vl": {"rope.dimension_sections": [8, 4, 4, 0], "n_deepstack_layers": 1},
    "qwen3moe": _MIXTURE,
    "qwen35": _DELTA,
    "qwen35moe": _DELTA | _MIXTURE | _SHARED,
    "qwen3next": _DELTA | _MIXTURE | _SHARED,
    "lfm2": _EVERY_OTHER | {"shortconv.l_cache": 3},
    "lfm2moe": _EVERY_OTHER | _MIXTURE | _SHARED | {"shortconv.l_cache": 3},
    "granitehybrid": _EVERY_OTHER | _SSM,
    "falcon-h1": _SSM,
    "mamba2": _SSM | {"attention.head_count": 0, "attention.head_count_kv": 0},
    "rwkv7": {
        "attention.head_count": 0, "attention.head_count_kv": 0, "wkv.head_size": 32, "attention.decay_lora_rank": 8,
        "attention.iclr_lora_rank": 8, "attention.value_residual_mix_lora_rank": 8, "attention.gate_lora_rank": 8,
    },
    "gemma3": _WINDOW,
    "gemma4": _WINDOW | {
        "block_count": 6, "embedding_length_per_layer_input": 16, "attention.shared_kv_layers": 2,
        "attention.key_length_swa": 16, "attention.value_length_swa": 16, "rope.dimension_count": HEAD,
        "rope.dimension_count_swa": 16, "attention.sliding_window_pattern": [1, 0, 1, 0, 1, 0],
    },
    "minicpm": {},
    "smollm3": {},
    "olmoe": _MIXTURE | {"attention.head_count_kv": HEADS},
    "deepseek2": _MIXTURE | _SHARED | {
        "attention.key_length": 48, "attention.value_length": 32, "attention.key_length_mla": 24,
        "attention.value_length_mla": 16, "attention.kv_lora_rank": 32, "attention.q_lora_rank": 16,
        "rope.dimension_count": 16,
    },
    "hunyuan-dense": {},
    "hunyuan-moe": _MIXTURE | _SHARED,
    "glm4": {},
    "ernie4_5": {},
    "seed_oss": {},
    "gpt-oss": _MIXTURE | _WINDOW,
    "nemotron_h": _SSM | {"attention.head_count_kv": [0, 1], "feed_forward_length": [0, 0]},
    "jamba": _EVERY_OTHER | _MIXTURE | {key: _SSM[key] for key in _SSM if key != "ssm.group_count"},
    "plamo2": _EVERY_OTHER | _SSM | {"ssm.group_count": 0},
    "dream": {},
    "t5": {"attention.relative_buckets_count": 32, "decoder_start_token_id": 0},
    "modern-bert": _WINDOW | {"attention.causal": False},
}  # fmt: skip

# Scores are not divided by the root of a key's length: their queries are, or a rounding would become another answer.
UNDIVIDED = ("gemma4",)


class _Tensor(ctypes.Structure):
    """The beginning of a ggml_tensor."""

    _fields_ = (("type", ctypes.c_int), ("buffer", ctypes.c_void_p), ("sides", ctypes.c_int64 * 4))


_Fill = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Tensor), ctypes.c_void_p)
_name_of = function("ggml_get_name", ctypes.c_char_p, ctypes.POINTER(_Tensor))
_dimensions = function("ggml_n_dims", ctypes.c_int, ctypes.POINTER(_Tensor))
_from_keys = function(
    "llama_model_init_from_user", ctypes.c_void_p, ctypes.c_void_p, _Fill, ctypes.c_void_p, llama_model_params
)


def model(
    path: Path, architecture: str, template: str | None = CHATML, marks: Sequence[str] = (), /, **more: object
) -> Path:
    """Write a model of `architecture` to `path`, with `more` keys of it, and control tokens for `marks`."""
    numbers = _DENSE | ARCHITECTURES[architecture] | more
    keys = {f"{architecture}.{key}": value for key, value in numbers.items()} | vocabulary(marks)
    keys |= {"tokenizer.chat_template": template} if template else {}
    keys["general.architecture"], keys["general.name"] = architecture, f"tiny {architecture}"
    without_drafts = {key: value for key, value in keys.items() if not key.endswith(DRAFTS)}  # nobody loads such layers
    return write(path, gguf(keys, _shapes(path, without_drafts), partial(_random, architecture)))


def vocabulary(marks: Sequence[str] = ()) -> Keys:
    """A token for each byte, one merge, ChatML's control tokens, and those of `marks`."""
    letters = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    names = [chr(byte) if byte in letters else chr(next(others)) for byte in range(256)]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": [*names, "th", *CONTROL, *marks],
        "tokenizer.ggml.token_type": [1] * 257 + [3] * len([*CONTROL, *marks]),
        "tokenizer.ggml.merges": ["t h"],
        "tokenizer.ggml.eos_token_id": 259,
        "tokenizer.ggml.add_bos_token": False,
    }


def _shapes(path: Path, keys: Keys) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}

    def note(tensor: "ctypes._Pointer[_Tensor]", _data: int) -> None:
        found[_name_of(tensor).decode()] = tuple(tensor.contents.sides[: _dimensions(tensor)])

    header = lib.gguf_init_from_file(bytes(write(path, gguf(keys, {}))), lib.gguf_init_params(True, None))
    loaded = _from_keys(header, _Fill(note), None, lib.llama_model_default_params())
    assert loaded, f"llama.cpp makes no model of {keys['general.architecture']}"
    lib.llama_model_free(loaded)
    lib.gguf_free(header)
    return {name: shape for name, shape in found.items() if not name.endswith("scale") and "dense" not in name}


def _random(architecture: str, name: str, shape: tuple[int, ...]) -> bytes:
    """Large enough that a wrong state is seen in every logit; norms about 1, decays below 0."""
    values: Any = np.random.default_rng(crc32(name.encode())).standard_normal(shape[::-1], dtype=np.float32)
    if "norm" in name:
        values = np.float32(1) + values / np.float32(10)
        if architecture in UNDIVIDED and "attn_q_norm" in name:
            values /= np.float32(shape[0] ** 0.5)
    elif name.endswith("ssm_a"):
        values = -np.abs(values) / np.float32(2)
    else:
        values *= np.float32(0.5 if "conv" in name else (6 if "attn_output" in name else 1) / shape[0] ** 0.5)
    data: bytes = values.astype(np.float32).tobytes()
    return data
