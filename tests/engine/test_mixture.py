"""A mixture of experts that is SmolLM2 three times over answers as SmolLM2 does. Half a minute: weights of 16 bits.

All of it is planned, the experts that are used count for speed, and it is recast like any other model.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgechat.engine.base import Slice
from edgechat.engine.llama import memory
from edgechat.engine.llama.engine import LlamaCpp
from edgechat.gguf.header import read_header
from edgechat.gguf.recast import recast
from edgechat.tune import recipes
from edgechat.tune.divergence import compare, log_probabilities
from edgechat.tune.recipes import Recipe
from tests.mixtures import mixture

pytestmark = pytest.mark.model

EXPERTS, USED = 3, 2
TEXT = "The capital of France is Paris. The capital of Italy is Rome. Two and two is four, and three and three is six."


@pytest.fixture(scope="module")
def models(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """The dense model in 16 bits, so that no product is rounded to eight, and the mixture of it."""
    folder = tmp_path_factory.mktemp("mixture")
    dense = folder / "dense.gguf"
    recast(smollm2, dense, {t.name: "F16" for t in read_header(smollm2).tensors if len(t.shape) > 1}, threads=2)
    mixed = mixture(dense, folder / "mixture.gguf", EXPERTS, USED)
    yield dense, mixed
    dense.unlink()
    mixed.unlink()


def logits(path: Path) -> NDArray[np.float32]:
    """(tokens, vocabulary) after each token of the text but the first few."""
    engine = LlamaCpp(path, 256, 4 << 30, 2, lambda _: None)
    tokens = engine.tokenizer.encode(TEXT)
    engine.step([Slice(0, 0, tokens[:8])])
    found = engine.logits(0, 8, tokens[8:])
    engine.close()
    return found


def divergence(source: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Of the worst token, in nats."""
    return max(row.kld for row in compare(log_probabilities(source).astype(np.float16), other))


def test_it_answers_as_the_dense_model_does_whatever_its_types(models: tuple[Path, Path], tmp_path: Path) -> None:
    dense, mixed = models
    source = logits(dense)
    assert divergence(source, logits(mixed)) < 1e-3
    recipe, header = Recipe("Q8_0", "Q8_0"), read_header(mixed)
    assert recipe in recipes.recipes(header)
    target = tmp_path / "recast.gguf"
    recast(mixed, target, recipes.types(header, recipe), threads=2)
    assert {tensor.type for tensor in read_header(target).tensors if "_exps" in tensor.name} == {"Q8_0"}
    assert divergence(source, logits(target)) < 0.1


def test_all_experts_are_planned_and_those_that_are_used_count_for_speed(models: tuple[Path, Path]) -> None:
    dense, whole = map(read_header, models)
    one = sum(tensor.size or 0 for tensor in dense.tensors if ".ffn_" in tensor.name and "norm" not in tensor.name)
    router = sum(tensor.size or 0 for tensor in whole.tensors if "gate_inp" in tensor.name)
    assert recipes.size(whole) == recipes.size(dense) + (EXPERTS - 1) * one + router
    assert recipes.streamed(whole) == recipes.streamed(dense) + (USED - 1) * one + router
    assert memory.fixed_bytes(whole) >= memory.fixed_bytes(dense) + (EXPERTS - 1) * one
