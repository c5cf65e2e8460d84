"""The letters of a worker that embeds, without a process."""

import json
from pathlib import Path

import pytest

from edgechat.engine.fake import FakeEmbedder
from edgechat.types import (
    Answered,
    AnyEvent,
    AnyToWorker,
    Ask,
    Cancel,
    Cores,
    Detokenize,
    Embed,
    Failed,
    Generate,
    GenRequest,
    Load,
    Prefill,
    Tokenize,
)
from edgechat.worker.embedding import embeds, serve


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "fake.json"
    path.write_text(json.dumps({"dimensions": 4, "context": 16}))
    return path


def served(script: Path, *letters: AnyToWorker) -> list[tuple[int, AnyEvent]]:
    """What comes back for `letters`."""
    waiting, told = list(letters), []
    embedder = FakeEmbedder(script, 0, 0, 1, lambda _: None)
    serve(embedder, lambda: waiting.pop(0) if waiting else None, lambda id, event: told.append((id, event)))
    return told


def test_every_text_gives_a_sign_of_life_and_the_last_event_holds_all(script: Path) -> None:
    *signs, (id, told) = served(script, Ask(7, Embed(("ab", (97,)))))
    assert signs == [(7, Prefill(1, 2)), (7, Prefill(2, 2))]
    assert id == 7
    assert isinstance(told, Answered)
    assert told.tokens == (97, 98, 97)
    assert len(told.vectors) == 2


def test_tokens_are_told_and_what_means_nothing_here_is_passed_over(script: Path) -> None:
    letters = (Cancel(1), Cores(2), Ask(2, Tokenize("ab")), Ask(3, Detokenize((97,))))
    assert served(script, *letters) == [(2, Answered(tokens=(97, 98))), (3, Answered(text="a"))]


@pytest.mark.parametrize(
    ("letter", "code"),
    [
        (Generate(1, GenRequest(())), "invalid_request"),
        (Ask(1, Embed(("x" * 17,))), "context_length_exceeded"),
        (Ask(1, Embed(("",))), "invalid_request"),
    ],
)
def test_what_cannot_be_done_is_refused(script: Path, letter: AnyToWorker, code: str) -> None:
    ((_, told),) = served(script, letter)
    assert isinstance(told, Failed)
    assert told.code == code


def test_a_model_is_known_by_its_file(script: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.json"
    plain.write_text("{}")
    assert embeds(Load(engine="fake", path=str(script), context=0, threads=1))
    assert not embeds(Load(engine="fake", path=str(plain), context=0, threads=1))
