"""Write small GGUF files, good and bad ones."""

import struct
from collections.abc import Callable, Container, Mapping
from math import prod
from pathlib import Path

import numpy as np

F32, F16 = 0, 1


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def value(item: object) -> bytes:
    match item:
        case bool():
            return struct.pack("<I?", 7, item)
        case int():
            return struct.pack("<II", 4, item)
        case float():
            return struct.pack("<If", 6, item)
        case str():
            return struct.pack("<I", 8) + text(item)
        case [int(), *_]:
            return struct.pack("<IIQ", 9, 5, len(item)) + struct.pack(f"<{len(item)}i", *item)
        case [float(), *_]:
            return struct.pack("<IIQ", 9, 6, len(item)) + struct.pack(f"<{len(item)}f", *item)
        case list():
            return struct.pack("<IIQ", 9, 8, len(item)) + b"".join(text(str(one)) for one in item)
    raise TypeError(type(item))


def zeros(_name: str, shape: tuple[int, ...]) -> bytes:
    return bytes(4 * prod(shape))


def gguf(
    metadata: Mapping[str, object] | None = None,
    tensors: Mapping[str, tuple[int, ...]] | None = None,
    filled: Callable[[str, tuple[int, ...]], bytes] = zeros,
    halves: Container[str] = (),
) -> bytes:
    """A GGUF of version 3 with F32 tensors, those of `halves` F16; `filled` by name and shape, with 32-bit floats."""
    metadata = {"general.architecture": "test"} if metadata is None else metadata
    tensors = {"w": (4, 2)} if tensors is None else tensors
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    head += b"".join(text(key) + value(item) for key, item in metadata.items())
    body: list[bytes] = []
    at = 0
    for name, shape in tensors.items():
        data = filled(name, shape)
        if name in halves:
            data = np.frombuffer(data, np.float32).astype(np.float16).tobytes()
        head += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        head += struct.pack("<IQ", F16 if name in halves else F32, at)
        body += (data, b"\0" * (-len(data) % 32))
        at += len(data) + len(body[-1])
    return b"".join((head, b"\0" * (-len(head) % 32), *body))


def unserved() -> bytes:
    """A model of an architecture that is refused by its header."""
    numbers = {"context_length": 512, "block_count": 2, "embedding_length": 64, "wkv.head_size": 32}
    return gguf({"general.architecture": "rwkv7"} | {f"rwkv7.{key}": number for key, number in numbers.items()})


Numbers = dict[str, object]
Shapes = dict[str, tuple[int, ...]]
WIDTH, WORDS = 32, 8  # of the models below


def recurrent(architecture: str) -> bytes:
    """A model of two layers that llama.cpp loads, with a running state in the first one, or in both (mamba2)."""
    kinds: dict[str, tuple[Numbers, list[Shapes]]] = {
        "mamba2": (_SSM, [_MAMBA, _MAMBA]),
        "qwen35": (_SSM | _ROPE, [_DELTA | _FFN, _ATTENTION | _NORMS | _FFN]),
        "lfm2": ({"shortconv.l_cache": 3, "attention.head_count_kv": [0, 2]}, [_CONV | _FFN, _PLAIN | _FFN]),
    }
    numbers, layers = kinds[architecture]
    common: Numbers = {"context_length": 512, "embedding_length": WIDTH, "feed_forward_length": WIDTH, "block_count": 2}
    common |= {"attention.head_count": 2, "attention.layer_norm_rms_epsilon": 1e-6, "vocab_size": WORDS}
    metadata = {f"{architecture}.{key}": number for key, number in (common | {"rope.freq_base": 1e4} | numbers).items()}
    names = {"general.architecture": architecture, "tokenizer.ggml.model": "no_vocab"}
    norm = "token_embd_norm" if architecture == "lfm2" else "output_norm"
    tensors: Shapes = {"token_embd.weight": (WIDTH, WORDS), f"{norm}.weight": (WIDTH,)}
    tensors |= {f"blk.{at}.{name}": shape for at, layer in enumerate(layers) for name, shape in layer.items()}
    return gguf(names | metadata, tensors)


_SSM: Numbers = {
    "ssm.conv_kernel": 4,
    "ssm.inner_size": 32,
    "ssm.state_size": 16,
    "ssm.time_step_rank": 2,
    "ssm.group_count": 2,
}
_ROPE: Numbers = {"rope.dimension_count": 16, "rope.dimension_sections": [2, 2, 2, 0], "full_attention_interval": 2}
_ROPE |= {"attention.head_count_kv": 2, "attention.key_length": 16, "attention.value_length": 16}
_FFN: Shapes = {f"ffn_{name}.weight": (WIDTH, WIDTH) for name in ("gate", "up", "down")}
_MAMBA: Shapes = {
    "attn_norm.weight": (WIDTH,),
    "ssm_in.weight": (WIDTH, 32 + 96 + 2),
    "ssm_conv1d.weight": (4, 96),
    "ssm_conv1d.bias": (96,),
    "ssm_dt.bias": (2,),
    "ssm_a": (1, 2),
    "ssm_d": (1, 2),
    "ssm_norm.weight": (16, 2),
    "ssm_out.weight": (32, WIDTH),
}
_DELTA: Shapes = {
    "attn_norm.weight": (WIDTH,),
    "post_attention_norm.weight": (WIDTH,),
    "attn_qkv.weight": (WIDTH, 96),
    "attn_gate.weight": (WIDTH, 32),
    "ssm_conv1d.weight": (4, 96),
    "ssm_dt.bias": (2,),
    "ssm_a": (2,),
    "ssm_beta.weight": (WIDTH, 2),
    "ssm_alpha.weight": (WIDTH, 2),
    "ssm_norm.weight": (16,),
    "ssm_out.weight": (32, WIDTH),
}
_NORMS: Shapes = {"post_attention_norm.weight": (WIDTH,), "attn_q_norm.weight": (16,), "attn_k_norm.weight": (16,)}
_PLAIN: Shapes = {f"attn_{name}.weight": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
_PLAIN |= {"attn_norm.weight": (WIDTH,), "ffn_norm.weight": (WIDTH,)}
_PLAIN |= {"attn_q_norm.weight": (16,), "attn_k_norm.weight": (16,)}
_ATTENTION: Shapes = {
    "attn_norm.weight": (WIDTH,),
    "attn_q.weight": (WIDTH, 64),
    "attn_k.weight": (WIDTH, 32),
    "attn_v.weight": (WIDTH, 32),
    "attn_output.weight": (32, WIDTH),
}
_CONV: Shapes = {
    "attn_norm.weight": (WIDTH,),
    "ffn_norm.weight": (WIDTH,),
    "shortconv.conv.weight": (3, WIDTH),
    "shortconv.in_proj.weight": (WIDTH, 3 * WIDTH),
    "shortconv.out_proj.weight": (WIDTH, WIDTH),
}


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
