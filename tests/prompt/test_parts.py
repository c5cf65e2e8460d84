"""A message is parts: their order survives all that is done to a conversation, and what no model takes is refused."""

import pytest

from edgechat.engine.fake import Bytes
from edgechat.errors import UnsupportedMedia
from edgechat.letters import Generate, to_worker
from edgechat.process.frames import LENGTH, pack
from edgechat.prompt.template import CHATML, Template
from edgechat.prompt.tokens import Prompter
from edgechat.prompt.tools import spelled_out, without_system
from edgechat.types import Attachment, GenRequest, Kind, Message, Tool, ToolCall

PICTURE = Attachment("ab" * 32, "picture", "image/png")
SOUND = Attachment("cd" * 32, "sound", "audio/wav")
LOOK = Message("user", ("Look: ", PICTURE, " and listen: ", SOUND))


def test_words_and_the_rest_are_told_apart() -> None:
    assert (LOOK.text, LOOK.attachments) == ("Look:  and listen: ", (PICTURE, SOUND))
    assert Message.of("user", "hi") == Message("user", ("hi",))
    assert Message.of("assistant", "").content == ()


def test_parts_travel_to_the_worker_and_text_costs_what_it_is() -> None:
    letter = Generate(1, GenRequest((LOOK,)))
    assert to_worker.decode(pack(letter)[LENGTH.size :]) == letter
    short, long = (len(pack(Generate(1, GenRequest((Message.of("user", "x" * size),))))) for size in (1000, 2000))
    assert long - short == 1000


@pytest.mark.parametrize(
    ("kind", "media_type", "many"),
    [
        ("picture", "image/png", "pictures"),
        ("sound", "audio/wav", "sound"),
        ("document", "application/pdf", "documents"),
    ],
)
def test_what_no_model_takes_is_refused_and_says_so(kind: Kind, media_type: str, many: str) -> None:
    """A conversation that was taken in from elsewhere may hold such a part."""
    turns = (Message("user", (Attachment("ab" * 32, kind, media_type), "What is it?")), Message.of("user", "Well?"))
    with pytest.raises(UnsupportedMedia, match=f"an {media_type} cannot be read: .*no model here takes {many}"):
        Prompter(Template(CHATML), Bytes(), 4096).prepare(GenRequest(turns))


def test_no_part_is_lost_where_a_template_does_not_know_tools_or_systems() -> None:
    call = Message("assistant", (), tool_calls=(ToolCall("c", "look", "{}"),))
    results = [Message("tool", (PICTURE, "18"), tool_call_id="c"), Message("tool", ("19",), tool_call_id="d")]
    system, question, _, told = spelled_out([Message.of("system", "Be kind."), LOOK, call, *results], [Tool("look")])
    assert system.text.startswith("Be kind.\n\n# Tools\n")
    assert question == LOOK
    assert told.text == "<tool_response>\n18\n</tool_response>\n<tool_response>\n19\n</tool_response>"
    assert told.attachments == (PICTURE,)
    (first,) = without_system([Message.of("system", "Be kind."), Message.of("system", "Be brief."), LOOK])
    assert first.content == ("Be kind.", "\n\n", "Be brief.", "\n\n", *LOOK.content)
