"""Which recipes a model allows, and which tensor gets which type."""

from pathlib import Path

import pytest

from edgechat.gguf.header import Header, read_header
from edgechat.tune import recipes
from edgechat.tune.recipes import Recipe
from tests import ggufs

LAYER = {
    "attn_q.weight": (512, 512),
    "attn_k.weight": (512, 64),
    "attn_v.weight": (512, 64),
    "attn_q.bias": (512,),
    "attn_norm.weight": (512,),
    "ffn_up.weight": (512, 1024),
    "ffn_down.weight": (1024, 512),
}


def header(tmp_path: Path, layer: dict[str, tuple[int, ...]] = LAYER, **more: tuple[int, ...]) -> Header:
    tensors = {f"blk.{n}.{name}": shape for n in range(2) for name, shape in layer.items()}
    tensors |= {"token_embd.weight": (512, 64)} | {f"{name}.weight": shape for name, shape in more.items()}
    data = ggufs.gguf({"general.architecture": "test", "test.block_count": 2}, tensors)
    return read_header(ggufs.write(tmp_path / "m.gguf", data))


def test_a_row_that_is_no_multiple_of_256_allows_no_k_types(tmp_path: Path) -> None:
    assert recipes.bodies(header(tmp_path)) == recipes.heads(header(tmp_path)) == list(recipes.BITS)
    narrow = LAYER | {"ffn_up.weight": (96, 16384)}
    assert recipes.bodies(header(tmp_path, narrow)) == ["Q4_0", "IQ4_NL", "Q8_0"]
    assert recipes.heads(header(tmp_path, narrow)) == recipes.kinds(header(tmp_path, narrow)) == list(recipes.BITS)
    assert recipes.recipes(header(tmp_path, LAYER | {"attn_q.weight": (20, 20)})) == []


def test_a_few_rows_that_are_no_multiple_get_the_next_finer_type(tmp_path: Path) -> None:
    """As in Qwen1.5-1.8B, whose rows have 2,048 weights in all matrices but one of each layer: that one has 5,504."""
    uneven = header(tmp_path, LAYER | {"ffn_down.weight": (1120, 512)})
    assert recipes.bodies(uneven) == list(recipes.BITS)
    types = recipes.types(uneven, Recipe("Q5_K", "Q4_K"))
    assert types["blk.0.ffn_up.weight"] == "Q5_K"
    assert types["blk.0.ffn_down.weight"] == "Q8_0"
    assert recipes.types(uneven, Recipe("Q4_K", "Q4_K"))["blk.0.ffn_down.weight"] == "IQ4_NL"
    assert recipes.fitting(33, "Q4_K") is None


def test_a_model_without_known_matrices_allows_nothing(tmp_path: Path) -> None:
    data = ggufs.gguf({"general.architecture": "other"}, {"blk.0.ssm_in.weight": (512, 512)})
    assert recipes.recipes(read_header(ggufs.write(tmp_path / "m.gguf", data))) == []


def test_body_and_head_get_their_types_and_all_else_stays(tmp_path: Path) -> None:
    types = recipes.types(header(tmp_path), Recipe("Q4_0", "Q6_K"))
    assert types["blk.1.ffn_down.weight"] == "Q4_0"
    assert types["token_embd.weight"] == "Q6_K"  # head and embedding at once
    assert not {name for name in types if "norm" in name or "bias" in name}


def test_an_embedding_that_is_not_the_head_stays(tmp_path: Path) -> None:
    types = recipes.types(header(tmp_path, output=(512, 64)), Recipe("Q4_0", "Q6_K"))
    assert types["output.weight"] == "Q6_K"
    both = header(tmp_path, output=(512, 64))
    assert recipes.size(both) - recipes.streamed(both) == 512 * 64 * 4  # of the embedding, a token reads one row
    assert "token_embd.weight" not in types


def test_small_key_matrices_stay_fine_and_large_ones_do_not(tmp_path: Path) -> None:
    assert recipes.types(header(tmp_path), Recipe("Q4_0", "Q4_0"))["blk.0.attn_k.weight"] == "Q8_0"
    large = LAYER | {"attn_k.weight": (512, 512), "attn_v.weight": (512, 512)}
    assert recipes.types(header(tmp_path, large), Recipe("Q4_0", "Q4_0"))["blk.0.attn_k.weight"] == "Q4_0"


def test_the_size_of_a_recipe_is_known_before_it_is_made(tmp_path: Path) -> None:
    before = header(tmp_path)
    after = recipes.applied(before, Recipe("Q4_0", "Q8_0"))
    kinds = {tensor.name: tensor.type for tensor in after.tensors}
    assert kinds["blk.0.ffn_up.weight"] == "Q4_0"
    assert kinds["token_embd.weight"] == "Q8_0"
    assert recipes.size(after) < recipes.size(before) / 4
    assert recipes.as_it_is(after) == "Q4_0/Q8_0"
    assert recipes.streamed(after) == recipes.size(after)  # the embedding is the head
    assert recipes.fineness(before) > recipes.fineness(after)
    assert recipes.same_model(before, after)


@pytest.mark.parametrize("text", ["IQ4_NL/Q6_K", "Q8_0/Q8_0"])
def test_a_recipe_reads_what_it_writes(text: str) -> None:
    assert str(Recipe.parse(text)) == text


def test_the_share_of_the_layers_in_a_twin(tmp_path: Path) -> None:
    found = header(tmp_path)
    layer = sum(a * b for shape in LAYER.values() if len(shape) == 2 for a, b in [shape])
    assert recipes.layers_share(found, 5) == pytest.approx(5 * layer / (5 * layer + 512 * 64))


def test_a_written_token_reads_the_experts_that_are_used_and_all_of_them_may_be_recast(tmp_path: Path) -> None:
    experts = {f"ffn_{name}_exps.weight": (512, 512, 8) for name in ("gate", "up", "down")}
    tensors = {f"blk.0.{name}": shape for name, shape in (experts | {"ffn_up_shexp.weight": (512, 512)}).items()}
    keys = {"expert_count": 8, "expert_used_count": 2, "block_count": 1}
    data = ggufs.gguf(
        {"general.architecture": "qwen3moe"} | {f"qwen3moe.{key}": number for key, number in keys.items()},
        tensors | {"token_embd.weight": (512, 64)},
    )
    mixture, one = read_header(ggufs.write(tmp_path / "m.gguf", data)), 512 * 512 * 4
    assert recipes.size(mixture) == 25 * one + 512 * 64 * 4
    assert recipes.streamed(mixture) == (3 * 2 + 1) * one + 512 * 64 * 4
    assert set(recipes.types(mixture, Recipe("Q4_K", "Q8_0"))) == set(tensors) | {"token_embd.weight"}
    assert recipes.layers_share(mixture, 1) == pytest.approx(7 / (7 + 64 / 512))
