"""What a header says of keys, values, states and experts: of models of the field, and as llama.cpp allocates them."""

from dataclasses import replace

import pytest

from edgechat.gguf.header import Header, Tensor, Value
from edgechat.gguf.shape import (
    active,
    attending,
    depth,
    inner_width,
    kv_bytes,
    loaded,
    recurring_layers,
    state_bytes,
)


def header(architecture: str, **numbers: Value) -> Header:
    keys: dict[str, Value] = {f"{architecture}.{name.replace('__', '.')}": value for name, value in numbers.items()}
    return Header(keys | {"general.architecture": architecture}, ())


QWEN3_5: dict[str, Value] = {  # 0.8B
    "block_count": 24, "embedding_length": 1024, "feed_forward_length": 3584, "attention__head_count": 8,
    "attention__head_count_kv": 2, "attention__key_length": 256, "attention__value_length": 256,
    "full_attention_interval": 4, "ssm__conv_kernel": 4, "ssm__inner_size": 2048, "ssm__state_size": 128,
    "ssm__group_count": 16,
}  # fmt: skip
LFM2: dict[str, Value] = {  # 350M
    "block_count": 16, "embedding_length": 1024, "attention__head_count": 16, "shortconv__l_cache": 3,
    "attention__head_count_kv": (0, 0, 8, 0, 0, 8, 0, 0, 8, 0, 8, 0, 8, 0, 8, 0),
}  # fmt: skip
GRANITE: dict[str, Value] = {  # 4.0-h-350m in short
    "block_count": 4, "embedding_length": 768, "attention__head_count": 12, "attention__head_count_kv": (0, 4, 0, 0),
    "ssm__conv_kernel": 4, "ssm__inner_size": 1536, "ssm__state_size": 128, "ssm__group_count": 1,
}  # fmt: skip
RWKV: dict[str, Value] = {"block_count": 12, "embedding_length": 768, "wkv__head_size": 64}
GEMMA4: dict[str, Value] = {
    "block_count": 5, "embedding_length": 64, "attention__head_count": 4, "attention__head_count_kv": 1,
    "attention__key_length": 32, "attention__value_length": 32, "attention__key_length_swa": 16,
    "attention__value_length_swa": 16, "attention__sliding_window_pattern": (1, 1, 0, 1, 1),
    "attention__shared_kv_layers": 2,
}  # fmt: skip
MLA: dict[str, Value] = {
    "block_count": 2, "embedding_length": 128, "attention__head_count": 4, "attention__head_count_kv": 1,
    "attention__key_length": 576, "attention__value_length": 512, "attention__key_length_mla": 192,
}  # fmt: skip
NEMOTRON: dict[str, Value] = {
    "block_count": 3, "embedding_length": 64, "attention__head_count": 4, "attention__head_count_kv": (0, 0, 2),
    "feed_forward_length": (0, 96, 0), "ssm__conv_kernel": 4, "ssm__inner_size": 128, "ssm__state_size": 16,
    "ssm__group_count": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("architecture", "numbers", "attend", "recur", "cell", "state"),
    [
        ("qwen35", QWEN3_5, 6, 18, 12_288, 20_201_472),
        ("qwen35", QWEN3_5 | {"block_count": 25, "nextn_predict_layers": 1}, 6, 18, 12_288, 20_201_472),
        ("lfm2", LFM2, 6, 10, 6 * 2 * 8 * 128, 10 * 1024 * 2 * 4),
        ("granitehybrid", GRANITE, 1, 3, 2 * 4 * 128, 3 * 4 * (3 * (1536 + 256) + 1536 * 128)),
        ("rwkv7", RWKV, 0, 12, 0, 12 * 4 * 768 * (2 + 64)),
        ("mamba2", QWEN3_5, 0, 24, 0, 4 * 24 * (3 * 6144 + 2048 * 128)),
        ("falcon-h1", GRANITE | {"attention__head_count_kv": 4}, 4, 4, 4 * 2 * 4 * 128, 4 * 4 * (5376 + 196_608)),
        ("gemma4", GEMMA4, 3, 0, 2 * (2 * 32 + 64), 0),
        ("deepseek2", MLA, 2, 0, 2 * 2 * 576, 0),
        ("nemotron_h", NEMOTRON, 1, 1, 2 * 2 * 32, 4 * (3 * 192 + 128 * 16)),
        ("llama", {"block_count": 2, "embedding_length": 64, "attention__head_count": 4}, 2, 0, 2 * 2 * 128, 0),
    ],
)
def test_layers_and_what_they_keep(
    architecture: str, numbers: dict[str, Value], attend: int, recur: int, cell: int, state: int
) -> None:
    found = header(architecture, **numbers)
    assert (len(attending(found)), len(recurring_layers(found))) == (attend, recur)
    assert (kv_bytes(found), state_bytes(found)) == (cell, state)


def test_what_a_header_does_not_tell_is_not_made_up() -> None:
    assert kv_bytes(header("llama")) is None
    assert kv_bytes(header("llama", block_count=2, embedding_length=64, attention__head_count=0)) is None
    assert state_bytes(header("mamba2")) == 0


def test_layers_that_draft_are_neither_loaded_nor_gone_through() -> None:
    found = header("qwen35", **QWEN3_5 | {"block_count": 25, "nextn_predict_layers": 1})
    last, draft = (Tensor(f"blk.{at}.ffn_up.weight", (64, 96), "F32", 0, 0) for at in (23, 24))
    embedding = Tensor("token_embd.weight", (64, 96), "F32", 0, 0)
    whole = replace(found, tensors=(embedding, last, draft))
    assert depth(whole) == 24
    assert loaded(whole) == [embedding, last]
    assert [active(whole, tensor) for tensor in whole.tensors] == [1, 1, 0]


def test_of_a_mixture_a_token_goes_through_the_experts_that_are_used() -> None:
    mixture = header(
        "qwen3moe", expert_count=8, expert_used_count=2, expert_feed_forward_length=96, embedding_length=64
    )
    experts = Tensor("blk.0.ffn_up_exps.weight", (64, 96, 8), "F32", 0, 8 * 64 * 96 * 4)
    assert active(mixture, experts) == 0.25
    assert active(mixture, Tensor("blk.0.ffn_up_shexp.weight", (64, 96), "F32", 0, 0)) == 1
    assert active(header("llama"), experts) == 1
    assert inner_width(mixture) == 192
