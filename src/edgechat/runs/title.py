"""A conversation's title, found by the model that answered in it: what it is asked, and what counts as a title."""

import re
from collections.abc import Sequence

from edgechat.types import Message

MAX_TOKENS = 24
_ASK = {
    "zh": "用不超过十个字给这段对话起一个标题。只写标题，不要解释。",
    "en": "Write a title of at most six words for this conversation. Only the title, nothing else.",
}
_HAN = re.compile("[\u4e00-\u9fff]")
_LABEL = re.compile(r"^(?:title|标题|题目)\s*[:：]\s*", re.IGNORECASE)
_FRAME = " \t\"'“”‘’「」『』《》【】[]()（）*#_`.。:：-"


def question(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The conversation with one more request, in its own language: all before it was read already."""
    language = "zh" if any(_HAN.search(message.text) for message in messages) else "en"
    return (*messages, Message.of("user", _ASK[language]))


def title_from(answer: str) -> str:
    """The title in what the model said: its first line, without the frame that models like to put around, or ''."""
    lines = [
        line for line in re.sub("<think>.*?(</think>|$)", "", answer, flags=re.DOTALL).splitlines() if line.strip()
    ]
    if not lines:
        return ""
    return _LABEL.sub("", lines[0].strip(_FRAME)).strip(_FRAME)
