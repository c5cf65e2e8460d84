"""Architectures that llama.cpp computes and that write no answer token by token: refused by their header.

    token ─► all before it ─► the next one        causal: served
    text  ─► all of it, both ways ─► vectors      served where the file tells how they are pooled into one
    text  ─► all of it, both ways ─► an answer    diffusion, or an encoder before the decoder: nothing here reads so

Read as if they were causal most of them answer, in well-formed nonsense. Source: llm_arch_is_diffusion, has_encoder and
causal_attn in llama.cpp 0.3.36 (src/llama-arch.cpp, src/models/).
"""

from edgechat.errors import ModelUnsupported
from edgechat.gguf.header import Header

DIFFUSE = frozenset({"dream", "llada", "llada-moe", "rnd1"})
ENCODE_FIRST = frozenset({"t5", "t5encoder"})
ONLY_READ = frozenset(
    {"bert", "eurobert", "gemma-embedding", "jina-bert-v2", "jina-bert-v3", "llama-embed", "modern-bert", "neo-bert"}
    | {"nomic-bert", "nomic-bert-moe"}
)
PARTS = frozenset({"dflash", "eagle3", "gemma4-assistant", "pockettts", "qwen3tts", "wavtokenizer-dec"})


def check(header: Header) -> None:
    """Raise ModelUnsupported where a model writes no answers here, and gives no vectors."""
    name = header.architecture
    reads_both_ways = name in ONLY_READ or header.number("attention.causal") == 0
    if name in DIFFUSE:
        why = "they write an answer in all its places at once (diffusion), not word by word"
    elif name in ENCODE_FIRST:
        why = "an encoder reads for them, and none is run here"
    elif name in PARTS:
        why = "they are a part of another model, or give no text"
    elif reads_both_ways and not header.number("pooling_type"):
        why = "they read in both directions, which gives vectors, and this file does not tell how they become one"
    else:
        return
    raise ModelUnsupported(f"models of architecture {name} are not served: {why}. Choose another model.")
