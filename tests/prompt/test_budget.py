"""Which turns stay when a conversation does not fit."""

from collections.abc import Sequence

import pytest

from edgechat.engine.fake import Bytes
from edgechat.errors import ContextLengthExceeded
from edgechat.prompt.budget import fit
from edgechat.prompt.template import CHATML, Template
from edgechat.prompt.tokens import Prompter
from edgechat.types import GenRequest, Message

SYSTEM = Message.of("system", "Be kind.")


def encode(messages: Sequence[Message]) -> list[int]:
    return [token for message in messages for token in [300, *message.text.encode()]]


def letters(message: Message) -> int:
    return len(message.text)


def talk(turns: int, size: int = 20) -> list[Message]:
    """`turns` questions with their answers, and one question more."""
    said = [
        message
        for at in range(turns)
        for message in (Message.of("user", f"q{at}".ljust(size)), Message.of("assistant", f"a{at}".ljust(size)))
    ]
    return [SYSTEM, *said, Message.of("user", "last")]


def test_what_fits_stays_whole() -> None:
    messages = talk(3)
    fitted = fit(messages, 1000, encode, letters)
    assert fitted.messages == messages
    assert fitted.dropped == 0


def test_system_and_the_newest_turns_stay_and_whole_turns_go() -> None:
    messages = talk(20)
    fitted = fit(messages, 400, encode, letters)
    assert fitted.messages[0] == SYSTEM
    assert fitted.messages[1].role == "user"
    assert fitted.messages[-1] == messages[-1]
    assert fitted.messages[1:] == messages[-len(fitted.messages) + 1 :]
    assert fitted.dropped == len(messages) - len(fitted.messages) > 0
    assert len(fitted.tokens) <= 400


def test_the_beginning_stays_the_same_for_several_turns() -> None:
    """The cached prefix breaks once in a while, not on every turn, and no more goes than a block beyond the need."""
    firsts = []
    for turns in range(12, 60):
        fitted = fit(talk(turns, 8), 400, encode, letters)
        assert len(fitted.tokens) <= 400
        if fitted.dropped:
            assert len(fitted.tokens) > 400 * 0.5
            firsts.append(fitted.messages[1].text)
    assert len(set(firsts)) <= len(firsts) / 2
    assert firsts == sorted(firsts, key=lambda first: int(first[1:]))


def test_the_results_of_a_tool_stay_with_their_turn() -> None:
    tail = [
        Message.of("user", "weather?"),
        Message.of("assistant", ""),
        Message.of("tool", "x" * 50),
        Message.of("assistant", "y"),
    ]
    fitted = fit([*talk(10)[:-1], *tail, Message.of("tool", "z")], 90, encode, letters)
    assert fitted.messages[1:] == [*tail, Message.of("tool", "z")]


def prompter(context: int) -> Prompter:
    return Prompter(Template(CHATML), Bytes(), context)


def test_a_long_conversation_is_shortened_and_says_so() -> None:
    prepared = prompter(1000).prepare(GenRequest(tuple(talk(30)), max_tokens=100))
    assert prepared.dropped > 0
    assert len(prepared.tokens) <= 900
    assert b"Be kind." in bytes(token for token in prepared.tokens if token < 256)


def test_truncation_disabled_refuses_instead() -> None:
    with pytest.raises(ContextLengthExceeded, match=r"has \d+ tokens.* here is 1000 "):
        prompter(1000).prepare(GenRequest(tuple(talk(30)), truncation="disabled"))


def test_a_newest_turn_that_cannot_fit_is_refused_with_both_numbers() -> None:
    messages = (SYSTEM, Message.of("user", "old"), Message.of("assistant", "old"), Message.of("user", "x" * 2000))
    with pytest.raises(ContextLengthExceeded, match=r"has 2\d\d\d tokens.* here is 1000 ") as caught:
        prompter(1000).prepare(GenRequest(messages))
    assert caught.value.param == "messages"


class Counting(Bytes):
    """A tokenizer that knows how much it was given."""

    read = 0

    def encode(self, text: str) -> list[int]:
        self.read += len(text)
        return super().encode(text)


HUGE = "a" * (4 << 20)


@pytest.mark.parametrize(
    "request_",
    [
        GenRequest((Message.of("user", HUGE),)),
        GenRequest((Message.of("system", HUGE), Message.of("user", "hi"))),
        GenRequest((Message.of("user", HUGE), Message.of("user", "hi")), truncation="disabled"),
        GenRequest((), prompt=HUGE),
    ],
)
def test_what_is_far_too_long_is_refused_before_all_of_it_is_read(request_: GenRequest) -> None:
    tokenizer = Counting()
    prompter = Prompter(Template(CHATML), tokenizer, 4096)
    with pytest.raises(ContextLengthExceeded, match=r"has more than 8192 tokens.* here is 4096 ") as caught:
        prompter.prepare(request_)
    assert caught.value.param == ("prompt" if request_.prompt else "messages")
    assert tokenizer.read < 1 << 18


def test_a_far_too_long_turn_of_long_ago_is_dropped_without_reading_all_of_it() -> None:
    tokenizer = Counting()
    talk = (SYSTEM, Message.of("user", HUGE), Message.of("assistant", "so"), Message.of("user", "last"))
    prepared = Prompter(Template(CHATML), tokenizer, 4096).prepare(GenRequest(talk))
    assert prepared.dropped == 2
    assert tokenizer.read < 1 << 19


def test_a_long_conversation_that_fits_stays_whole() -> None:
    prepared = prompter(1 << 18).prepare(GenRequest((SYSTEM, Message.of("user", "x" * (1 << 17)))))
    assert (prepared.dropped, len(prepared.tokens) > 1 << 17) == (0, True)
