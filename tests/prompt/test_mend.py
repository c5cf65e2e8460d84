"""Tool calls of which only the syntax is broken."""

import time

import pytest

from edgechat.prompt import mend

TOOLS = ["f"]


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "f", "arguments": {"a": 1}}',
        "{'name': 'f', 'arguments': {'a': 1}}",
        '{"name": "f", "arguments": {"a": 1,},}',
        '{"name": "f", "arguments": {"a": 1}',
        '{"name": "f", "arguments": "{\\"a\\": 1}"}',
        '{"name": "f", "parameters": {"a": 1}}',
        '```json\n{"name": "f", "arguments": {"a": 1}}\n```',
        '{"name": "f", "arguments": {"a": 1}}}',
    ],
)
def test_a_call_is_read(text: str) -> None:
    assert mend.read(text, TOOLS, repair=True)[0] == [("f", '{"a": 1}')]


def test_words_quotes_and_lines_are_mended_inside_too() -> None:
    text = "{'name': 'f', 'arguments': {'a': True, 'b': None, 'c': 'it\\'s \"so\"\nhere'}}"
    (call,), mended = mend.read(text, TOOLS, repair=True)
    assert call == ("f", '{"a": true, "b": null, "c": "it\'s \\"so\\"\\nhere"}')
    assert mended


@pytest.mark.parametrize(
    "text",
    ["", "f(1)", '{"name": "g", "arguments": {}}', '{"name": "f", "arguments": [1]}', '{"arguments": {}}', "[", '"f"'],
)
def test_what_is_no_call_is_left_alone(text: str) -> None:
    assert mend.read(text, TOOLS, repair=True) == ([], False)


def test_nothing_makes_it_slow() -> None:
    for text in ("[a(" * 20_000, "{" * 60_000, '{"name": "f", ' * 4000, "'" * 60_000, "`" * 60_000):
        started = time.process_time()
        mend.read(text, TOOLS, repair=True)
        mend.bare(text, TOOLS)
        assert time.process_time() - started < 2
