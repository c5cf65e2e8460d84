"""Projectors of noise through the whole of the engine: what is seen of a picture, read, kept, gone on from, refused."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgechat.engine.llama.eyes import LlamaEyes
from edgechat.errors import EngineFailed, InvalidMedia, ModelFileInvalid, ModelUnsupported
from edgechat.media.picture import Cap, Pixels, decode
from edgechat.models import projectors
from edgechat.prompt.sight import MARKS, MOST, SHARPEST, Sight, View, forecast
from edgechat.types import Attachment, GenRequest, Message
from edgechat.worker.looking import Looker, Open
from tests import noise, tiny
from tests.engine.family import Life, asked, difference, words
from tests.pictures import drawn, encoded

# Architectures, with the kind of projector that goes with each.
SERVED = {
    "qwen35": "qwen3vl_merger",
    "qwen3vl": "qwen3vl_merger",
    "lfm2": "lfm2",
    "qwen2": "internvl",
    "llama": "idefics3",
}
NAMED = ("\n\n", "<fake_token_around_image>", "<global-img>")  # that idefics3 asks for
WIDE, HIGH = encoded(drawn((160, 96)), "PNG"), encoded(drawn((64, 128)), "PNG")
# A picture has as many cells as the library says; only Qwen's take fewer positions.
CELLS = {"qwen3vl_merger": [(15, 5)], "lfm2": [(77, 77)], "internvl": [(16, 16)] * 3, "idefics3": [(16, 16)] * 5}


def name(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def vectors(sight: Sight | None) -> NDArray[np.float32]:
    assert sight is not None
    data = b"".join(piece.vectors for piece in sight if isinstance(piece, View))
    return np.frombuffer(data, np.float32).reshape(-1, tiny.WIDTH)


def going_on(_: float | None) -> bool:
    return True


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory.mktemp("model") / "qwen35.gguf", "qwen35")


def shown(*said: bytes | str) -> GenRequest:
    """A conversation of one question, with pictures in it."""
    parts = (Attachment(name(one), "picture", "image/png") if isinstance(one, bytes) else one for one in said)
    return asked(messages=(Message.of("system", words(0)), Message("user", tuple(parts))))


def more(request: GenRequest, *said: bytes | str) -> GenRequest:
    """The next question of a conversation."""
    return asked((*request.messages, Message.of("assistant", words(1)), *shown(*said).messages[1:]))


FIRST = shown(WIDE, words(2))
NEXT = more(FIRST, words(3))
BRANCH = more(FIRST, words(4), HIGH, words(5))


@pytest.mark.parametrize("architecture", SERVED)
def test_a_life_of_conversations_with_pictures(architecture: str, tmp_path: Path) -> None:
    kind, model = SERVED[architecture], tiny.model(tmp_path / "model.gguf", architecture, tiny.CHATML, NAMED)
    tower = noise.STACKED if architecture == "qwen3vl" else noise.TINY
    path = noise.projector(tmp_path / "mmproj.gguf", kind, tower=tower)
    eyes = LlamaEyes(model, path, "noise")
    seen = {name(data): eyes.see(decode(data, Cap()), 1, going_on) for data in (WIDE, HIGH)}
    sights = {digest: sight for digest, sight in seen.items() if sight}
    views = [piece for piece in sights[name(WIDE)] if isinstance(piece, View)]
    assert [(len(view.cells), view.positions) for view in views] == CELLS[kind]
    reference = Life(model, sights=sights)

    def expected(request: GenRequest) -> list[object]:
        reference.forget()
        return [*reference.ask(request)[0][0]]

    life, cells = Life(model, tmp_path / "shelf", sights), sum(len(view.cells) for view in views)
    right = {number: expected(request) for number, request in enumerate((FIRST, NEXT, BRANCH))}
    assert right[0] != expected(shown(HIGH, words(2))), "it does not see what it is shown"
    reads = []
    for number, request in ((0, FIRST), (0, FIRST), (1, NEXT), (2, BRANCH)):
        scores, cached = life.ask(request)[0]
        assert not difference(scores, right[number])  # type: ignore[arg-type]
        reads.append(cached)
    assert reads[0] == 0
    assert min(reads[1:]) > cells
    together = life.ask(shown(HIGH, words(6)), BRANCH, asked((Message.of("user", words(7)),)), NEXT)
    assert not difference(together[1][0], right[2])  # type: ignore[arg-type]
    assert not difference(together[3][0], right[1])  # type: ignore[arg-type]
    life.end()
    again = Life(model, tmp_path / "shelf", sights)
    for number, request in ((1, NEXT), (2, BRANCH)):
        scores, cached = again.ask(request)[0]
        assert not difference(scores, right[number])  # type: ignore[arg-type]
        assert cached > cells
    again.end()
    reference.end()


def test_threads_and_what_was_seen_before_change_nothing(model: Path, tmp_path: Path) -> None:
    path = noise.projector(tmp_path / "mmproj.gguf")
    eyes, others = LlamaEyes(model, path, "a"), LlamaEyes(model, path, "b")
    wide, high = decode(WIDE, Cap()), decode(HIGH, Cap())
    first = eyes.see(wide, 1, going_on)
    assert eyes.see(high, 2, going_on) != first
    assert np.abs(vectors(eyes.see(wide, 2, going_on)) - vectors(first)).max() < 1e-4
    other = others.see(wide, 1, going_on)
    assert (vectors(other) == vectors(first)).all()
    assert other != first  # another projector's cells are other tokens


def test_a_picture_is_scaled_down_to_the_cap(model: Path, tmp_path: Path) -> None:
    eyes = LlamaEyes(model, noise.projector(tmp_path / "mmproj.gguf"), "", most=64)
    assert 48 <= len(vectors(eyes.see(Pixels(900, 700, bytes(900 * 700 * 3)), 1, going_on))) <= 64


def test_a_kind_that_cuts_pictures_into_tiles_keeps_the_cells_that_it_was_taught(model: Path, tmp_path: Path) -> None:
    eyes = LlamaEyes(model, noise.projector(tmp_path / "mmproj.gguf", "lfm2"), "")
    sight = eyes.see(Pixels(500, 500, bytes(500 * 500 * 3)), 1, going_on)
    assert sight is not None
    assert max(len(piece.cells) for piece in sight if isinstance(piece, View)) <= 256


def test_nobody_waits_for_it_any_more(model: Path, tmp_path: Path) -> None:
    eyes, asked_for = LlamaEyes(model, noise.projector(tmp_path / "mmproj.gguf"), ""), list[float | None]()

    def goes_on(share: float | None) -> bool:
        asked_for.append(share)
        return False

    pixels = decode(WIDE, Cap())
    assert eyes.see(pixels, 1, goes_on) is None
    assert len(asked_for) == 1
    assert eyes.see(pixels, 1, going_on) is not None


@pytest.mark.parametrize(("kind", "parts"), [("qwen3vl_merger", 1), ("internvl", 3)])
def test_it_tells_from_the_first_picture_on_how_far_it_is(kind: str, parts: int, model: Path, tmp_path: Path) -> None:
    eyes, shares = LlamaEyes(model, noise.projector(tmp_path / "mmproj.gguf", kind), ""), list[float | None]()

    def told(share: float | None) -> bool:
        shares.append(share)
        return True

    eyes.see(decode(WIDE, Cap()), 1, told)
    known = [share for share in shares if share is not None]
    assert known == sorted(known)
    assert 0 <= known[0] < 1 / parts
    assert (parts - 1) / parts < known[-1] <= 1


def test_one_that_is_stopped_is_not_encoded_to_its_end(model: Path, tmp_path: Path) -> None:
    path = noise.projector(tmp_path / "mmproj.gguf", tower=noise.Tower(128, 256, 4, 96))
    looker, shares = Looker(Open("llama_cpp", str(model), str(path), "noise"), lambda: 1), list[float]()

    def told(share: float | None) -> None:
        shares.append(share or 0.0)
        looker.stop(7)

    large = encoded(drawn((724, 724)), "PNG")
    assert looker.look(7, name(large), large, told) is None
    assert shares[-1] < 0.8
    assert looker.look(8, name(WIDE), WIDE, lambda _: None) is not None
    looker.close()


def test_a_projector_of_the_kind_that_looks_both_ways_is_refused(model: Path, tmp_path: Path) -> None:
    path = noise.projector(tmp_path / "mmproj.gguf", "gemma3")
    with pytest.raises(ModelUnsupported, match="both directions"):
        LlamaEyes(model, path, "")
    with pytest.raises(ModelUnsupported, match="both directions"):
        projectors.read(path, model)


def test_a_projector_whose_marks_the_model_lacks_is_refused(model: Path, tmp_path: Path) -> None:
    eyes = LlamaEyes(model, noise.projector(tmp_path / "mmproj.gguf", "idefics3"), "")
    with pytest.raises(ModelUnsupported, match="tokens that this model does not have"):
        eyes.see(decode(WIDE, Cap()), 1, going_on)


@pytest.mark.parametrize("kind", dict.fromkeys(SERVED.values()))
def test_a_projector_of_another_width_is_refused_before_anything_is_loaded(
    kind: str, model: Path, tmp_path: Path
) -> None:
    assert projectors.read(noise.projector(tmp_path / "mmproj.gguf", kind), model).width == tiny.WIDTH
    other = noise.projector(tmp_path / "mmproj-other.gguf", kind, width=2 * tiny.WIDTH)
    with pytest.raises(ModelUnsupported, match=r"models of width 128, .* has 64"):
        projectors.read(other, model)
    assert projectors.of(model, (other,)) is None
    with pytest.raises(ModelFileInvalid, match="takes no pictures"):
        LlamaEyes(model, other, "")


@pytest.fixture
def looker(model: Path, tmp_path: Path) -> Iterator[Looker]:
    path = noise.projector(tmp_path / "mmproj.gguf")
    looker = Looker(Open("llama_cpp", str(model), str(path), "noise", patch=32), lambda: 1)
    yield looker
    looker.close()


def test_the_child_sees_what_the_engine_sees(looker: Looker, model: Path, tmp_path: Path) -> None:
    eyes = LlamaEyes(model, tmp_path / "mmproj.gguf", "noise")
    found = looker.look(1, name(WIDE), WIDE, lambda _: None)
    assert found is not None
    assert found.sight == eyes.see(decode(WIDE, Cap()), 1, going_on)
    with pytest.raises(InvalidMedia, match=r"cut off|damaged"):
        looker.look(2, name(WIDE[:99]), WIDE[:99], lambda _: None)
    with pytest.raises(EngineFailed, match="did not come"):
        looker.look(3, name(HIGH), None, lambda _: None)
    assert looker.look(4, name(HIGH), HIGH, lambda _: None) is not None


@pytest.mark.parametrize("size", [(64, 64), (724, 724), (2000, 300), (640, 1400)])
@pytest.mark.parametrize("tokens", [64, MOST, SHARPEST])
def test_a_request_says_how_many_tokens_a_picture_takes_at_most(
    size: tuple[int, int], tokens: int, looker: Looker
) -> None:
    data = encoded(drawn(size), "PNG")
    found = looker.look(1, name(data), data, lambda _: None, tokens=tokens)
    assert found is not None
    cells = len(vectors(found.sight))
    whole = round(size[0] / 32) * round(size[1] / 32)
    assert cells <= tokens
    assert cells >= 0.85 * min(tokens, whole)
    if tokens == MOST:
        assert cells == forecast(*size, 32) - MARKS
