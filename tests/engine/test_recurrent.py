"""Models that keep a running state (recurrent, hybrid): from what they read nothing can be taken back.

A conversation that shares a beginning goes on from a checkpoint, or the model is refused in one line: by its header,
before anything is loaded, where that tells, or by a trial. That answers are right is shown by test_families.py.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgechat.engine.base import Slice
from edgechat.engine.llama import memory, states
from edgechat.engine.llama.engine import LlamaCpp, load_model
from edgechat.errors import ConfigError, EngineFailed, ModelUnsupported
from edgechat.gguf.header import Header, read_header
from edgechat.gguf.recast import recast
from edgechat.gguf.shape import state_bytes
from edgechat_engine import lib
from tests import ggufs, tiny

ARCHITECTURES = ["mamba2", "qwen35", "lfm2"]


@pytest.fixture(params=ARCHITECTURES)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return ggufs.write(tmp_path / f"{request.param}.gguf", ggufs.recurrent(request.param))


@pytest.mark.parametrize("keys", [{"wkv.head_size": 64}, {"ssm.conv_kernel": 4}])
def test_the_header_tells_what_is_refused_before_anything_is_loaded(keys: dict[str, int]) -> None:
    """RWKV, and one whose state is of an unknown size."""
    metadata = {f"new.{key}": number for key, number in ({"context_length": 512, "block_count": 2} | keys).items()}
    header = Header({"general.architecture": "new", **metadata}, ())
    with pytest.raises(ModelUnsupported, match="architecture new are not served") as refused:
        memory.plan(header, 0, 1 << 30)
    assert "\n" not in str(refused.value)


def test_the_library_tells_it_where_the_header_does_not(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Header, "is_recurrent", False)
    with pytest.raises(ModelUnsupported, match=f"architecture {model.stem} are not served"):
        LlamaCpp(model, 256, 0, 1, lambda _: None)


def test_what_does_not_branch_in_a_trial_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the library to share cells, and to leave the state as it is."""
    monkeypatch.setattr(LlamaCpp, "_check_states", lambda *_: None)
    monkeypatch.setattr(states, "put", lambda *_: None)
    with pytest.raises(ModelUnsupported, match="architecture qwen35 are not served"):
        LlamaCpp(tiny.model(tmp_path / "m.gguf", "qwen35"), 256, 0, 1, lambda _: None)


def test_room_for_the_next_copy_is_made_before_it_and_given_once() -> None:
    blanks = states.Blanks()
    first = blanks.take(5_000_000)
    assert blanks._next is not None
    ready = blanks._next.result()
    assert blanks.take(5_000_000) is ready is not first
    blanks._next.result()
    assert len(blanks.take(100)) == 100
    blanks.end()


def test_rounding_is_no_foreign_state() -> None:
    logits = np.linspace(-3, 3, 100, dtype=np.float32)[None]
    assert states._close(logits, logits + np.float32(0.007))  # a quantised Granite without flash attention
    assert not states._close(logits, logits[:, ::-1])
    assert not states._close(logits, logits * np.float32(0.8))


def test_a_step_that_fails_in_the_trial_is_no_branch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> bytes:
        raise EngineFailed("no.")

    monkeypatch.setattr(states, "take", refuse)
    with pytest.raises(ModelUnsupported):
        LlamaCpp(tiny.model(tmp_path / "m.gguf", "mamba2"), 256, 0, 1, lambda _: None)


def test_a_window_is_cut_at_checkpoints_where_a_conversation_can_outgrow_it(tmp_path: Path) -> None:
    path = tiny.model(tmp_path / "m.gguf", "gemma3")
    for context, cuts in ((32, "anywhere"), (256, "checkpoints")):
        engine = LlamaCpp(path, context, 0, 1, lambda _: None)
        assert (engine.cuts, bool(engine.checkpoints)) == (cuts, cuts == "checkpoints")
        engine.close()


def test_a_window_that_has_lost_cells_is_not_gone_on_from(tmp_path: Path) -> None:
    """Those that it has passed are anybody's: here they are taken away."""
    engine = LlamaCpp(tiny.model(tmp_path / "m.gguf", "gemma3"), 256, 0, 1, lambda _: None)
    engine.step([Slice(0, 0, list(range(100)))])
    engine.trim(0, 0, 50)
    engine.share(0, 1, 50, 60)
    with pytest.raises(EngineFailed, match="not that of 60 tokens"):
        engine.step([Slice(1, 60, [1])])
    engine.close()


def test_a_checkpoint_of_a_window_is_as_large_as_planned(tmp_path: Path) -> None:
    """Five of six layers attend to it, and the header does not say so."""
    path = tiny.model(tmp_path / "m.gguf", "gemma3", block_count=6)
    engine = LlamaCpp(path, 256, 0, 1, lambda _: None)
    engine.step([Slice(0, 0, [1] * 100)])
    assert len(engine.checkpoint(0)) == pytest.approx(memory.checkpoint_bytes(read_header(path)), rel=0.1)
    engine.close()


def test_how_many_are_answered_at_once_follows_the_memory(tmp_path: Path) -> None:
    """llama.cpp allocates a state for each sequence, and checkpoints are as large."""
    whole = read_header(tiny.model(tmp_path / "m.gguf", "qwen35"))
    header = Header(whole.metadata | {"qwen35.ssm.state_size": 1 << 17}, whole.tensors)
    state, rooms = state_bytes(header), []
    assert state > 30_000_000
    least = memory.fixed_bytes(header) + 2048 * memory.cell_bytes(header)
    for more in (0, 8, 20, 80):
        size = least + more * state + 1_000_000
        planned = memory.plan(header, 2048, size)
        assert planned.bytes <= size
        assert planned.bytes == memory.fixed_bytes(header, planned.room) + planned.cells * memory.cell_bytes(header)
        rooms.append(planned.room)
    assert rooms == sorted(rooms)
    assert [room.sequences for room in rooms] == [2, 2, 3, 9]
    with pytest.raises(ConfigError, match="it takes --memory"):
        memory.plan(header, 2048, least - 1_000_000)


def test_the_library_does_not_cut_such_a_model(model: Path) -> None:
    """Why it is refused. A part of what was read is not taken back; all of it is."""
    loaded = load_model(model, lambda _: None)
    parameters = lib.llama_context_default_params()
    parameters.n_ctx = 64
    context = lib.llama_init_from_model(loaded, parameters)
    held = lib.llama_get_memory(context)
    batch = lib.llama_batch_init(8, 0, 1)
    for at in range(8):
        batch.token[at], batch.pos[at], batch.n_seq_id[at], batch.logits[at] = at % ggufs.WORDS, at, 1, at == 7
        batch.seq_id[at][0] = 0
    batch.n_tokens = 8
    assert lib.llama_decode(context, batch) == 0
    assert not lib.llama_memory_seq_rm(held, 0, 4, -1)
    assert lib.llama_memory_seq_rm(held, 0, 0, -1)
    lib.llama_batch_free(batch)
    lib.llama_free(context)
    lib.llama_model_free(loaded)


def test_one_that_gives_vectors_may_keep_a_state(tmp_path: Path) -> None:
    """Every text is read from the beginning."""
    header = read_header(ggufs.write(tmp_path / "m.gguf", ggufs.recurrent("mamba2")))
    pools = Header(header.metadata | {"mamba2.pooling_type": 3}, header.tensors)
    assert memory.plan(pools, 0, 1 << 30).context


def test_attention_alone_is_served() -> None:
    assert not Header({"general.architecture": "llama", "llama.context_length": 512}, ()).is_recurrent


# ── rounding ──

WIDE = {
    "embedding_length": 256, "feed_forward_length": 512, "block_count": 4, "attention.head_count": 4,
    "attention.key_length": 64, "attention.value_length": 64, "ssm.inner_size": 256, "ssm.state_size": 64,
    "ssm.time_step_rank": 4,
}  # fmt: skip
HALF = 48  # tokens that are read first


def test_a_branch_is_no_farther_from_a_fresh_sequence_than_that_is_from_itself_read_in_other_slices(
    tmp_path: Path,
) -> None:
    """With weights of four bits activations are rounded to eight: one that another order of a sum moves by a millionth
    may be rounded to the next number. So a fresh sequence differs from itself, read in other slices, and what a
    checkpoint gives is held to that: the same slices give the same, another conversation's state gives far more."""
    whole, model = tiny.model(tmp_path / "whole.gguf", "qwen35", tiny.CHATML, **WIDE), tmp_path / "m.gguf"
    matrices = [
        tensor.name for tensor in read_header(whole).tensors if len(tensor.shape) > 1 and "conv" not in tensor.name
    ]
    recast(whole, model, dict.fromkeys(matrices, "Q4_K"), threads=1)
    engine = LlamaCpp(model, 256, 0, 1, lambda _: None)
    rounding, branches, foreign = [], [], []
    for seed in range(3):
        first, second, other = np.random.default_rng(seed).integers(0, 250, (3, HALF)).tolist()
        fresh = [after(engine, first, second, size) for size in (HALF, 7, 1)]
        rounding += [apart(fresh[0], one) for one in fresh]
        engine.step([Slice(0, 0, first)])
        engine.step([Slice(2, 0, other)])
        checkpoint, wrong = engine.checkpoint(0), engine.checkpoint(2)
        engine.step([Slice(0, HALF, other)])
        for size, alone in zip((HALF, 7, 1), fresh, strict=True):
            branches.append(apart(alone, after(engine, first, second, size, checkpoint)))
        foreign.append(apart(fresh[0], after(engine, first, second, HALF, wrong)))
        for seq in (0, 2):
            engine.trim(seq)
    engine.close()
    assert max(branches) <= max(rounding) < min(foreign) / 3


def after(
    engine: LlamaCpp, first: Sequence[int], second: Sequence[int], size: int, checkpoint: bytes | None = None
) -> NDArray[np.float32]:
    """(vocabulary,) logits after both, the second in slices; the first is read, or shared by sequence 0."""
    if checkpoint is None:
        engine.step([Slice(1, 0, first)])
    else:
        engine.share(0, 1, 0, HALF, checkpoint)
    for at in range(0, HALF - 1, size):
        engine.step([Slice(1, HALF + at, second[at : min(at + size, HALF - 1)])])
    rows = engine.logits(1, 2 * HALF - 1, second[-1:])
    engine.trim(1)
    return rows.reshape(-1)


def apart(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(abs(one - other).max())
