"""Two projectors beside each other, each in a child: tiny ones of noise."""

from pathlib import Path

import pytest

from edgechat.bench.likeness import ALIKE, Likeness, compare
from tests import noise, tiny


@pytest.mark.parametrize(("blocks", "is_alike"), [(2, True), (3, False)])
def test_what_sees_the_same_is_alike(blocks: int, is_alike: bool, tmp_path: Path) -> None:
    model, one = tiny.model(tmp_path / "m.gguf", "qwen35"), noise.projector(tmp_path / "one.gguf")
    other = noise.projector(tmp_path / "other.gguf", tower=noise.TINY._replace(blocks=blocks))
    found = compare(model, one, other, 1)
    assert (found.cosine >= ALIKE) == is_alike
    assert found.speed > 0


def test_better_is_faster_and_the_same() -> None:
    assert Likeness(0.9995, 1.5).is_better
    assert not Likeness(0.9985, 1.5).is_better
    assert not Likeness(0.9995, 0.9).is_better
