import asyncio
import random
import shutil
from pathlib import Path

import pytest

from edgechat.engine import fit
from edgechat.engine.llama import memory
from edgechat.errors import ConfigError
from edgechat.gguf.header import Header, read_header
from edgechat.gguf.quantize import Recipe, quantize
from edgechat.letters import Load
from edgechat.models.measure import tree_bytes
from edgechat.models.supervisor import Worker
from edgechat.types import Done, GenRequest, Message, Sampling
from tests import ggufs


@pytest.fixture
def header(tmp_path: Path) -> Header:
    """A model of 40 MB with a cache of 12,288 bytes per token, trained for 8192 tokens."""
    metadata = {
        "general.architecture": "qwen2",
        "qwen2.context_length": 8192,
        "qwen2.block_count": 24,
        "qwen2.embedding_length": 896,
        "qwen2.attention.head_count": 14,
        "qwen2.attention.head_count_kv": 2,
    }
    return read_header(ggufs.write(tmp_path / "m.gguf", ggufs.gguf(metadata, {"w": (1000, 10_000)})))


def test_a_plan_keeps_within_its_number(header: Header) -> None:
    plan = memory.plan(header, 0, 600_000_000)
    assert plan.context == 4096
    assert plan.cells >= 4096
    assert plan.bytes <= 600_000_000
    assert plan.notes == ()


def test_more_memory_holds_more_conversations_up_to_a_bound(header: Header) -> None:
    cells = [memory.plan(header, 1024, size).cells for size in (400_000_000, 450_000_000, 8_000_000_000)]
    assert cells == sorted(cells)
    assert cells[-1] == 1024 * fit.CONVERSATIONS


def test_a_context_nobody_asked_for_shrinks_and_says_so(header: Header) -> None:
    room = memory.fixed_bytes(header) + 3000 * memory.cell_bytes(header)
    plan = memory.plan(header, 0, room)
    assert fit.LEAST_CONTEXT <= plan.context < 4096
    assert plan.bytes <= room
    assert "instead of 4096" in plan.notes[0]


def test_a_context_that_was_asked_for_is_refused_with_the_number_that_fits(header: Header) -> None:
    with pytest.raises(ConfigError, match=r"it takes --memory (\d\.\d\d)GB") as caught:
        memory.plan(header, 8192, memory.fixed_bytes(header) + 8000 * memory.cell_bytes(header))
    needed = float(str(caught.value).rpartition("--memory ")[2].removesuffix("GB."))
    assert memory.plan(header, 8192, int((needed + 0.01) * 1e9)).context == 8192


def test_what_the_model_never_learned_is_refused(header: Header) -> None:
    with pytest.raises(ConfigError, match="trained for 8192"):
        memory.plan(header, 8193, 0)


def test_too_little_for_the_weights_is_refused(header: Header) -> None:
    with pytest.raises(ConfigError, match="it takes --memory"):
        memory.plan(header, 0, 50_000_000)


def test_no_memory_left_is_not_half_of_the_machines(tmp_path: Path) -> None:
    path = ggufs.write(tmp_path / "m.gguf", ggufs.gguf({"general.architecture": "qwen2", "qwen2.block_count": 2}))
    with pytest.raises(ConfigError, match="it takes --memory"):
        memory.Forecast(path).plan(0, 0)


@pytest.mark.model
@pytest.mark.parametrize(("model", "recipe"), [("smollm2", None), ("smollm2", "IQ4_NL/IQ4_NL"), ("qwen", None)])
async def test_what_is_predicted_is_what_a_full_worker_takes(
    model: str, recipe: str | None, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Within a tenth: the worker's process and all it started, after every conversation it has room for was full.

    As it comes, and in types that llama.cpp copies into a layout of its own, the head too, which is the embedding.
    """
    source, path, context = request.getfixturevalue(model), tmp_path / "own.gguf", 256
    if recipe is None:
        shutil.copy(source, path)  # pages that another process has, too, count in part only
    else:
        await quantize(source, path, Recipe.parse(recipe), threads=2, allow_requantize=True)
    predicted = memory.Forecast(path).describe(context)
    worker = Worker(Load("llama_cpp", str(path), context, 2, memory=fit.ENDLESS))
    try:
        info = await worker.start()
        assert (info.memory, info.cells) == (predicted.memory, context * fit.CONVERSATIONS)
        assert worker.pid is not None
        await asyncio.gather(*(fill(worker, number) for number in range(fit.CONVERSATIONS)))
        taken = tree_bytes(worker.pid)
        if not taken:
            pytest.skip("this system does not tell what a process takes")
        assert predicted.memory == pytest.approx(taken, rel=0.1)
    finally:
        await worker.stop()


async def fill(worker: Worker, number: int) -> None:
    """Have a conversation read that takes nearly all of the context."""
    draw = random.Random(number)
    words = " ".join(str(draw.randrange(10)) for _ in range(90))
    with worker.asked(GenRequest((Message.of("user", words),), Sampling(), max_tokens=16)) as told:
        events = [event async for event in told]
    assert isinstance(events[-1], Done), events[-1]
    assert events[-1].usage.prompt_tokens > 170
