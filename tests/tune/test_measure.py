"""What is measured of models that the usual twins do not fit."""

from pathlib import Path

from edgechat.tune import measure
from tests import tiny


def test_a_twin_of_a_hybrid_model_has_layers_of_either_kind(tmp_path: Path) -> None:
    """Without one that attends the engine's library ends the process."""
    model = tiny.model(tmp_path / "m.gguf", "qwen35", block_count=10)
    (cost,) = measure.costs(model, tmp_path, ["Q8_0"], 1, lambda _done: None).values()
    assert min(cost.layer, cost.prompt) > 0
