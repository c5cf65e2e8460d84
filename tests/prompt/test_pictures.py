"""Pictures in a prompt: a place of their own, wherever they were sent, or a refusal; never left out."""

import pytest

from edgechat.engine.fake import TEMPLATE, Bytes
from edgechat.errors import EngineFailed, InvalidRequest, UnsupportedMedia
from edgechat.prompt.senses import EYES
from edgechat.prompt.sight import Sight, View
from edgechat.prompt.template import Template
from edgechat.prompt.tokens import Prompter
from edgechat.types import Attachment, GenRequest, Message

ONE, TWO = Attachment("one", "picture", "image/png"), Attachment("two", "picture", "image/png")
SIGHTS: dict[str, Sight] = {
    "one": ((1, 2), View((-10, -11, -12), 2, b"", b""), (3,)),
    "two": (View((-20,), 1, b"", b""),),
}


def prompter(source: str = TEMPLATE, context: int = 4096) -> Prompter:
    return Prompter(Template(source), Bytes(), context, senses=EYES)


def request(*content: str | Attachment) -> GenRequest:
    return GenRequest((Message("user", content),))


def test_pictures_stand_where_they_were_sent() -> None:
    prompt = prompter().prepare(request("ab", ONE, "c", TWO, ONE), SIGHTS)
    start = prompt.tokens.index(ord("a"))
    expected = [97, 98, 1, 2, -10, -11, -12, 3, 99, -20, 1, 2, -10, -11, -12, 3]
    assert prompt.tokens[start : start + len(expected)] == expected
    assert [before - start for before, _ in prompt.views] == [4, 9, 12]
    assert all(prompt.tokens[before : before + len(view.cells)] == list(view.cells) for before, view in prompt.views)


def test_another_question_may_begin_behind_a_picture() -> None:
    prompt = prompter().prepare(request(ONE, "what?"), SIGHTS)
    ((before, view),) = prompt.views
    assert prompt.turns[0] == before + len(view.cells) + 1  # a token of its own stands behind it


def test_a_turn_of_a_picture_alone_ends_like_any_other() -> None:
    turns = prompter().prepare(request(TWO), SIGHTS).turns
    assert len(turns) == 2  # the picture, all of it


@pytest.mark.parametrize("content", ["{{ m.content | length }}", "{{ m.content }}{{ m.content }}", "{{ m.role }}"])
def test_a_template_that_loses_a_picture_refuses_the_conversation(content: str) -> None:
    with pytest.raises(InvalidRequest, match="as they were sent"):
        prompter("{% for m in messages %}" + content + "{% endfor %}").prepare(request("a", ONE), SIGHTS)


def test_what_was_not_looked_at_is_not_read_past() -> None:
    with pytest.raises(EngineFailed, match="was not looked at"):
        prompter().prepare(request(ONE), {})


def test_a_model_without_eyes_takes_none() -> None:
    with pytest.raises(UnsupportedMedia):
        Prompter(Template(TEMPLATE), Bytes(), 4096).prepare(request(ONE), SIGHTS)


def test_a_mark_cannot_be_written_by_people() -> None:
    prompt = prompter().prepare(request("P0P <|image_pad|>", TWO), SIGHTS)
    assert len(prompt.views) == 1


def test_old_pictures_count_when_turns_are_dropped() -> None:
    large: dict[str, Sight] = {"one": (View(tuple(range(-500, 0)), 30, b"", b""),)}
    turns = [Message("user", (ONE,)), Message.of("assistant", "yes"), Message.of("user", "and?")]
    prompt = prompter(context=512).prepare(GenRequest(tuple(turns), max_tokens=20), large)
    assert prompt.dropped == 2
    assert not prompt.views
