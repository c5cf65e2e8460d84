"""Models that keep a running state (recurrent, hybrid): from what they read nothing can be taken back.

Conversations that share a beginning would go on from what is not theirs, so such a model is refused in one line: by its
header, before anything is loaded, where that tells, and by llama.cpp's own word in any case.
"""

from pathlib import Path

import pytest

from edgechat.engine.llama import memory
from edgechat.engine.llama.engine import LlamaCpp, load_model
from edgechat.errors import ModelUnsupported
from edgechat.gguf.header import Header, read_header
from edgechat_engine import lib
from tests import ggufs

ARCHITECTURES = ["mamba2", "qwen35", "lfm2"]


@pytest.fixture(params=ARCHITECTURES)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return ggufs.write(tmp_path / f"{request.param}.gguf", ggufs.recurrent(request.param))


def test_the_header_tells_it_before_anything_is_loaded(model: Path) -> None:
    forecast = memory.Forecast(model)
    with pytest.raises(ModelUnsupported, match=f"architecture {model.stem} are not served yet") as refused:
        forecast.plan(0, 1 << 30)
    assert "\n" not in str(refused.value)
    with pytest.raises(ModelUnsupported):
        forecast.describe(0)


def test_the_library_tells_it_where_the_header_does_not(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Header, "is_recurrent", False)
    with pytest.raises(ModelUnsupported, match=f"architecture {model.stem} are not served yet"):
        LlamaCpp(model, 256, 0, 1, lambda _: None)


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
