from pathlib import Path

import pytest

from edgechat import gguf
from edgechat.engine import memory
from edgechat.errors import ConfigError
from tests import ggufs


@pytest.fixture
def header(tmp_path: Path) -> gguf.Header:
    """A model of 40 MB with a cache of 12,288 bytes per token, trained for 8192 tokens."""
    metadata = {
        "general.architecture": "qwen2",
        "qwen2.context_length": 8192,
        "qwen2.block_count": 24,
        "qwen2.embedding_length": 896,
        "qwen2.attention.head_count": 14,
        "qwen2.attention.head_count_kv": 2,
    }
    return gguf.read_header(ggufs.write(tmp_path / "m.gguf", ggufs.gguf(metadata, {"w": (1000, 10_000)})))


def test_a_plan_keeps_within_its_number(header: gguf.Header) -> None:
    plan = memory.plan(header, 0, 600_000_000)
    assert plan.context == 4096
    assert plan.cells >= 4096
    assert plan.bytes <= 600_000_000
    assert plan.notes == ()


def test_more_memory_holds_more_conversations_up_to_a_bound(header: gguf.Header) -> None:
    cells = [memory.plan(header, 1024, size).cells for size in (400_000_000, 450_000_000, 8_000_000_000)]
    assert cells == sorted(cells)
    assert cells[-1] == 1024 * memory.CONVERSATIONS


def test_a_context_nobody_asked_for_shrinks_and_says_so(header: gguf.Header) -> None:
    plan = memory.plan(header, 0, 225_000_000)
    assert memory.LEAST_CONTEXT <= plan.context < 4096
    assert plan.bytes <= 225_000_000
    assert "instead of 4096" in plan.notes[0]


def test_a_context_that_was_asked_for_is_refused_with_the_number_that_fits(header: gguf.Header) -> None:
    with pytest.raises(ConfigError, match=r"it takes --memory (\d\.\d\d)GB") as caught:
        memory.plan(header, 8192, 300_000_000)
    needed = float(str(caught.value).rpartition("--memory ")[2].removesuffix("GB."))
    assert memory.plan(header, 8192, int((needed + 0.01) * 1e9)).context == 8192


def test_what_the_model_never_learned_is_refused(header: gguf.Header) -> None:
    with pytest.raises(ConfigError, match="trained for 8192"):
        memory.plan(header, 8193, 0)


def test_too_little_for_the_weights_is_refused(header: gguf.Header) -> None:
    with pytest.raises(ConfigError, match="it takes --memory"):
        memory.plan(header, 0, 50_000_000)


def test_no_memory_left_is_not_half_of_the_machines(tmp_path: Path) -> None:
    path = ggufs.write(tmp_path / "m.gguf", ggufs.gguf({"general.architecture": "qwen2", "qwen2.block_count": 2}))
    with pytest.raises(ConfigError, match="it takes --memory"):
        memory.Forecast(path).plan(0, 0)
