"""Pictures drawn on the spot: what counts as right, and the command that asks."""

import json
import sys
from collections import Counter

import pytest

from edgechat import cli
from edgechat.bench import acuity
from edgechat.bench.acuity import COLOURS, SHAPES, Question, questions
from edgechat.media.picture import Cap, decode
from tests.conftest import ROOT, FakeModel

EYES = ROOT.parent / "shared" / "models" / "tiny-vl"


def see(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit status of `edgechat doctor --see ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["edgechat", "doctor", "--see", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_questions_are_the_same_every_time_and_show_what_they_ask_about() -> None:
    asked = list(questions())
    assert asked == list(questions())
    counts = Counter(question.kind for question in asked)
    assert set(counts.values()) == {acuity.EACH}
    assert counts.keys() >= {"colour", "shape", "digit", "second picture", "change"}
    for question in asked:
        for picture in question.pictures:
            pixels = decode(picture, Cap())
            assert 0 < pixels.rgb.count(b"\xff\xff\xff") < pixels.width * pixels.height, question


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("It is red.", True),
        ("红色", True),
        ("Red", True),
        ("It is red or blue.", False),
        ("红色或蓝色", False),
        ("blue", False),
        ("", False),
    ],
)
def test_who_names_everything_is_not_right(answer: str, right: bool) -> None:
    assert Question("colour", "?", (), "red", COLOURS).judge(answer) is right


def test_a_model_that_says_the_same_of_every_picture_does_not_see(
    fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGECHAT_ENGINE", "fake")
    model = fake_model(senses=["picture"], reply="A circle; it is red.", context=4096)
    assert see(monkeypatch, str(model), "--json") == 1
    found = json.loads(capsys.readouterr().out)
    asked = [question for question in questions() if question.kind in ("colour", "shape")]
    for kind, words in (("colour", COLOURS), ("shape", SHAPES)):
        lucky = sum(question.right in ("red", "circle") for question in asked if question.kind == kind)
        assert found[kind] == {"right": lucky, "of": acuity.EACH}, words
    assert see(monkeypatch, str(model)) == 1
    assert "does not see" in capsys.readouterr().out


def test_a_blind_model_is_named(
    fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGECHAT_ENGINE", "fake")
    assert see(monkeypatch, str(fake_model(context=4096))) == 1
    assert "no model here takes pictures" in capsys.readouterr().err


@pytest.mark.model
@pytest.mark.skipif(not EYES.exists(), reason="the tiny model that sees is not beside the project")
def test_a_model_that_sees_passes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It knows shapes, colours and digits, and no characters."""
    monkeypatch.setenv("EDGECHAT_PROJECTOR", str(EYES / "mmproj-tiny-vl-qwen3.5-f16.gguf"))
    assert see(monkeypatch, str(EYES / "tiny-vl-qwen3.5-f16.gguf"), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["second picture"]["right"] > acuity.EACH / 2
