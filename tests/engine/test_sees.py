"""A real model that sees, beside the project where it is: what a reference answered to pictures, with its certainty."""

import json
from queue import SimpleQueue
from threading import Thread
from typing import Any

import pytest

from edgechat.engine.base import Glance, Slice
from edgechat.engine.llama.engine import LlamaCpp
from edgechat.engine.llama.eyes import LlamaEyes
from edgechat.errors import ModelFileInvalid
from edgechat.media.picture import Cap, Pixels, decode
from edgechat.prompt.senses import EYES
from edgechat.prompt.sight import MOST, Sight, View, forecast, tokens_of
from edgechat.prompt.template import Template
from edgechat.prompt.tokens import Prepared, Prompter
from edgechat.scheduler.loop import Loop, Stop, Submit
from edgechat.types import AnyEvent, Attachment, Delta, Done, Failed, GenRequest, Message, Sampling
from tests.conftest import ROOT

FOLDER = ROOT.parent / "shared" / "models" / "tiny-vl"
MODEL, PROJECTOR = FOLDER / "tiny-vl-qwen3.5-f16.gguf", FOLDER / "mmproj-tiny-vl-qwen3.5-f16.gguf"
FARTHEST = 0.02  # of a log probability: wrong positions move some by more
WAIT_S = 120

pytestmark = pytest.mark.skipif(not PROJECTOR.exists(), reason="the tiny model that sees is not beside the project")

Sample = dict[str, Any]


@pytest.fixture(scope="module")
def eyes() -> LlamaEyes:
    return LlamaEyes(MODEL, PROJECTOR, "projector", MOST)


@pytest.fixture(scope="module")
def sights(eyes: LlamaEyes) -> dict[str, Sight]:
    files = sorted((FOLDER / "samples").glob("*.png"))
    seen = {file.name: eyes.see(decode(file.read_bytes(), Cap()), 1, lambda _: True) for file in files}
    assert all(seen.values())
    return {name: sight for name, sight in seen.items() if sight}


@pytest.fixture(scope="module")
def engine() -> LlamaCpp:
    return LlamaCpp(MODEL, 0, 0, 1, lambda _: None)


@pytest.fixture(scope="module")
def prompter(engine: LlamaCpp) -> Prompter:
    assert engine.template is not None
    return Prompter(Template(engine.template), engine.tokenizer, engine.info.context, senses=EYES)


@pytest.mark.parametrize(
    "size", [(1, 1), (60, 40), (150, 1), (33, 700), (200, 90), (640, 480), (1200, 800), (864, 576), (1920, 1080)]
)
def test_what_a_picture_will_take_is_known_before(eyes: LlamaEyes, size: tuple[int, int]) -> None:
    sight = eyes.see(Pixels(*size, bytes(3 * size[0] * size[1])), 1, lambda _: True)
    assert sight is not None
    assert forecast(*size, 32) == tokens_of(sight)


def request(sample: Sample) -> GenRequest:
    pictures = tuple(Attachment(name, "picture", "image/png") for name in sample["files"])
    said = Message("user", (*pictures, sample["question"]))
    return GenRequest((said,), sampling=Sampling(temperature=0), max_tokens=160, logprobs=1)


@pytest.mark.parametrize("together", [1, 4])
def test_it_answers_as_the_reference_and_as_surely(
    together: int, engine: LlamaCpp, prompter: Prompter, sights: dict[str, Sight]
) -> None:
    samples: list[Sample] = json.loads((FOLDER / "samples" / "samples.json").read_text())[::3]
    events: SimpleQueue[tuple[int, AnyEvent]] = SimpleQueue()
    loop = Loop(engine, lambda id, event: events.put((id, event)))
    thread = Thread(target=loop.run)
    thread.start()
    said: dict[int, list[Delta]] = {id: [] for id in range(len(samples))}
    for first in range(0, len(samples), together):
        group = range(first, min(first + together, len(samples)))
        for id in group:
            prompt = prompter.prepare(request(samples[id]), sights)
            assert len(prompt.tokens) == samples[id]["prompt_tokens"]
            loop.post(Submit(id, request(samples[id]), prompt))
        left = len(group)
        while left:
            id, event = events.get(timeout=WAIT_S)
            assert not isinstance(event, Failed), event
            left -= isinstance(event, Done)
            if isinstance(event, Delta):
                said[id].append(event)
    loop.post(Stop())
    thread.join(WAIT_S)
    for id, sample in enumerate(samples):
        assert "".join(event.text for event in said[id]) == sample["server_answer"]
        scored = [scored for event in said[id] for scored in event.logprobs]
        for one, (_, other) in zip(scored, sample["server_logprobs"], strict=False):
            assert abs(one.logprob - other) <= FARTHEST
    for seq in range(engine.sequences):
        engine.trim(seq)


def read(engine: LlamaCpp, seq: int, prompt: Prepared) -> None:
    """Feed all but the last token of `prompt`, its pictures in slices of five cells."""
    at, last = 0, len(prompt.tokens) - 1
    for before, view in prompt.views:
        engine.step([Slice(seq, at, prompt.tokens[at:before])])
        for first in range(0, len(view.cells), 5):
            cells = view.cells[first : first + 5]
            engine.step([Slice(seq, before + first, cells, None, Glance(view, first))])
        at = before + len(view.cells)
    engine.step([Slice(seq, at, prompt.tokens[at:last])])


def test_positions_outlast_being_saved_and_being_shared(
    engine: LlamaCpp, prompter: Prompter, sights: dict[str, Sight]
) -> None:
    sample = {"files": ["sample-01.png", "sample-02.png"], "question": "what changed?"}
    prompt = prompter.prepare(request(sample), sights)
    last = len(prompt.tokens) - 1
    read(engine, 0, prompt)
    state, checkpoint = engine.save(0), engine.checkpoint(0)
    engine.share(0, 1, 0, last, checkpoint)
    expected = engine.logits(0, last, prompt.tokens[last:])
    shared = engine.logits(1, last, prompt.tokens[last:])
    assert engine.restore(2, state)
    restored = engine.logits(2, last, prompt.tokens[last:])
    for seq in range(3):
        engine.trim(seq)
    assert abs(shared - expected).max() < FARTHEST
    assert abs(restored - expected).max() < FARTHEST


def test_a_picture_takes_fewer_positions_than_cells(sights: dict[str, Sight]) -> None:
    before, view, after = sights["sample-02.png"]  # 192 × 96: six columns, three rows
    assert isinstance(view, View)
    assert (len(view.cells), view.positions) == (18, 6)
    assert all(cell < 0 for cell in view.cells)
    assert isinstance(before, tuple)
    assert isinstance(after, tuple)


def test_nobody_waits_for_it_any_more(eyes: LlamaEyes) -> None:
    asked: list[float | None] = []

    def goes_on(share: float | None) -> bool:
        asked.append(share)
        return False

    assert eyes.see(Pixels(64, 64, bytes(64 * 64 * 3)), 1, goes_on) is None
    assert len(asked) == 1


def test_what_is_no_projector_is_refused() -> None:
    with pytest.raises(ModelFileInvalid, match="takes no pictures"):
        LlamaEyes(MODEL, MODEL, "")


def test_names_of_pictures_are_theirs_alone(sights: dict[str, Sight]) -> None:
    cells = [cell for sight in sights.values() for piece in sight if isinstance(piece, View) for cell in piece.cells]
    assert len(set(cells)) == len(cells)
