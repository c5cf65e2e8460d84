"""llama.cpp's embeddings, on a chat model whose header is made to say that it pools."""

import math
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgechat.engine.llama.embedder import LlamaEmbedder
from edgechat.engine.llama.memory import EMBEDDING_CONTEXT, Forecast
from edgechat.errors import ContextLengthExceeded
from edgechat.letters import Ask
from edgechat.types import Answered, Embed, Failed
from tests.ggufs import text, value
from tests.worker.test_vectors import told_by

pytestmark = pytest.mark.model
LAST = 3  # llama_pooling_type


@pytest.fixture(scope="module")
def pooling(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2 with two more keys. Together they are 64 bytes long, so that all tensors keep their alignment."""
    data = smollm2.read_bytes()
    keys = struct.unpack_from("<Q", data, 16)[0]
    more = text("llama.pooling_type") + value(LAST) + text("tests.padding" + ".") + value(0)
    assert len(more) == 64
    path = tmp_path_factory.mktemp("pooling") / "smollm2-pooling.gguf"
    path.write_bytes(data[:16] + struct.pack("<Q", keys + 2) + more + data[24:])
    return path


@pytest.fixture(scope="module")
def embedder(pooling: Path) -> Iterator[LlamaEmbedder]:
    yield LlamaEmbedder(pooling, 0, 0, 2, lambda _: None)


def test_a_header_tells_that_a_model_embeds(pooling: Path, smollm2: Path) -> None:
    known = Forecast(pooling).describe(0)
    assert (known.dimensions, known.context) == (576, EMBEDDING_CONTEXT)
    assert Forecast(smollm2).describe(0).dimensions == 0


def test_likeness_of_meaning_is_nearness(embedder: LlamaEmbedder) -> None:
    texts = ("The cat sleeps on the sofa.", "The cat sleeps on the couch.", "def main(): return 42")
    told = vectors(embedder, *texts)
    cat, couch, code = [struct.unpack("<576f", vector) for vector in told.vectors]
    assert math.hypot(*cat) == pytest.approx(1, abs=1e-5)
    assert likeness(cat, couch) > likeness(cat, code)
    assert len(told.tokens) == sum(len(embedder.tokens(one)) for one in texts)
    again = struct.unpack("<576f", vectors(embedder, texts[0]).vectors[0])
    assert again == pytest.approx(cat, abs=1e-6)


def vectors(embedder: LlamaEmbedder, *texts: str) -> Answered:
    """The answer to a request for the vectors of `texts`."""
    *_, (_, told) = told_by(embedder, Ask(1, Embed(texts)))
    assert isinstance(told, Answered)
    return told


def likeness(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """The cosine of two vectors of length 1."""
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_a_text_that_does_not_fit_is_refused_with_both_numbers(embedder: LlamaEmbedder) -> None:
    ((_, told),) = told_by(embedder, Ask(1, Embed(("word " * 600,))))
    assert isinstance(told, Failed)
    assert (told.code, told.param) == (ContextLengthExceeded.code, "input")
    assert str(EMBEDDING_CONTEXT) in told.message
    assert "601" in told.message
