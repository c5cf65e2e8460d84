"""The letters of a worker that embeds, without a process."""

import json
from pathlib import Path
from queue import SimpleQueue

import pytest

from edgechat.engine.base import Embedder
from edgechat.engine.fake import FakeEmbedder
from edgechat.letters import AnyToWorker, Ask, Cancel, Cores, Generate, Load
from edgechat.types import Answered, AnyEvent, Detokenize, Embed, Failed, GenRequest, Prefill, Tokenize
from edgechat.worker.vectors import embeds, serve


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "fake.json"
    path.write_text(json.dumps({"dimensions": 4, "context": 16}))
    return path


def served(script: Path, *letters: AnyToWorker) -> list[tuple[int, AnyEvent]]:
    """What the fake makes of `letters`."""
    return told_by(FakeEmbedder(script, 0, 0, 1, lambda _: None), *letters)


def told_by(embedder: Embedder, *letters: AnyToWorker) -> list[tuple[int, AnyEvent]]:
    """What comes back for `letters`, which are all there at once."""
    mail: SimpleQueue[AnyToWorker | None] = SimpleQueue()
    asked = sum(isinstance(letter, Ask | Generate) for letter in letters)
    asked -= sum(isinstance(letter, Cancel) for letter in letters)
    told: list[tuple[int, AnyEvent]] = []

    def tell(id: int, event: AnyEvent) -> None:
        told.append((id, event))
        if sum(isinstance(event, Answered | Failed) for _, event in told) == asked:
            mail.put(None)

    for letter in letters:
        mail.put(letter)
    serve(embedder, mail, tell)
    return told


def test_every_text_gives_a_sign_of_life_and_the_last_event_holds_all(script: Path) -> None:
    *signs, (id, told) = served(script, Ask(7, Embed(("ab", (97,), "c"))))
    assert signs == [(7, Prefill(2, 4)), (7, Prefill(3, 4))]
    assert id == 7
    assert isinstance(told, Answered)
    assert told.tokens == (97, 98, 97, 99)
    assert len(told.vectors) == 3


def test_clients_take_turns_text_by_text(script: Path) -> None:
    many = Ask(1, Embed(("a",) * 4, client="ann"))
    told = served(script, many, Ask(2, Embed(("b",) * 4, client="ann")), Ask(3, Embed(("c", "d"), client="bob")))
    assert [id for id, _ in told] == [1, 3, 1, 3, 1, 1, 2, 2, 2, 2]


def test_whoever_leaves_is_not_worked_for(script: Path) -> None:
    told = served(script, Ask(1, Embed(("a",) * 9)), Ask(2, Embed(("b",))), Cancel(1))
    assert [id for id, _ in told] == [2]


def test_tokens_are_told_and_what_means_nothing_here_is_passed_over(script: Path) -> None:
    letters = (Cores(2), Ask(2, Tokenize("ab")), Ask(3, Detokenize((97,))))
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


def test_a_text_that_is_far_too_long_is_refused_before_all_of_it_is_read(script: Path) -> None:
    class Counting(FakeEmbedder):
        read = 0

        def tokens(self, text: str) -> list[int]:
            self.read += len(text)
            return super().tokens(text)

    embedder = Counting(script, 0, 0, 1, lambda _: None)
    [(_, told)] = told_by(embedder, Ask(1, Embed(("a" * (4 << 20),))))
    assert isinstance(told, Failed)
    assert (told.code, told.param) == ("context_length_exceeded", "input")
    assert "more than 32 tokens" in told.message
    assert embedder.read < 1 << 18


@pytest.mark.parametrize("question", [Detokenize((97, 1 << 20)), Embed(((97, 1 << 20),))])
def test_a_token_that_the_vocabulary_has_not_never_reaches_the_library(
    script: Path, question: Detokenize | Embed
) -> None:
    """llama.cpp ends the process over it."""
    ((_, told),) = served(script, Ask(1, question))
    assert isinstance(told, Failed)
    assert (told.code, told.param) == ("invalid_request", "tokens" if isinstance(question, Detokenize) else "input")
    assert "1048576" in told.message
