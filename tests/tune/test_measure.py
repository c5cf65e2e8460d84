"""What is measured of models that the usual twins do not fit."""

from pathlib import Path

import pytest

from edgechat.errors import ModelUnsupported
from edgechat.tune import measure
from tests import tiny


@pytest.mark.parametrize(
    ("architecture", "keys"),
    [
        ("qwen35", {"block_count": 10}),
        ("qwen35", {"block_count": 4}),  # two periods
        ("lfm2", {"block_count": 7, "attention.head_count_kv": [0, 0, 1, 0, 1, 0, 1]}),  # lists for each layer
        ("granitehybrid", {"block_count": 6, "attention.head_count_kv": [0, 1, 0, 0, 0, 1]}),
        ("mamba2", {"block_count": 5}),
        ("qwen2", {"block_count": 2}),
    ],
)
def test_a_twin_of_a_hybrid_model_has_layers_of_either_kind(
    architecture: str, keys: dict[str, object], tmp_path: Path
) -> None:
    """Without one that attends the engine's library ends the process."""
    model = tiny.model(tmp_path / "m.gguf", architecture, tiny.CHATML, **keys)
    (cost,) = measure.costs(model, tmp_path, ["Q8_0"], 1, lambda _done: None).values()
    assert min(cost.layer, cost.prompt) > 0


def test_one_period_of_layers_is_too_few(tmp_path: Path) -> None:
    model = tiny.model(tmp_path / "m.gguf", "qwen35", block_count=3)
    with pytest.raises(ModelUnsupported, match=r"m\.gguf has too few layers"):
        measure.costs(model, tmp_path, ["Q8_0"], 1, lambda _done: None)
