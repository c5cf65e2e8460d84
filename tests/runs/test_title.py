import pytest

from edgechat.runs.title import question, title_from
from edgechat.types import Message


@pytest.mark.parametrize(
    ("said", "title"),
    [
        ("Sorting in Python", "Sorting in Python"),
        ('"Sorting in Python."\n\nThis title …', "Sorting in Python"),
        ("标题：《快速排序》", "快速排序"),
        ("**Title: Quick sort**", "Quick sort"),
        ("<think>\nlong\n</think>\n\n# Trees", "Trees"),
        ("<think>never ends", ""),
        (" \n ", ""),
        ("。", ""),
    ],
)
def test_a_title_is_the_first_line_without_its_frame(said: str, title: str) -> None:
    assert title_from(said) == title


def test_it_is_asked_in_the_conversations_language_after_what_was_read_already() -> None:
    said = (Message.of("user", "你好"), Message.of("assistant", "Hi"))
    assert question(said)[:2] == said
    assert "标题" in question(said)[-1].text
    assert "title" in question(said[1:])[-1].text
