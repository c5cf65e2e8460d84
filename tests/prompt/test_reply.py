"""What an answer's text is taken apart into, however it arrives."""

import random
from typing import Any

import pytest

from edgechat.prompt.reply import Reply
from edgechat.types import Called, Delta, Reasoning

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": "}\\""}}\n</tool_call>'
NOW = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
BARE = '{"name": "now", "arguments": {}}'
NAMED = (
    '<function name="add">\n<param name="a">1</param>'
    '<param name="b"><![CDATA[</param></function> x < y\n]]></param>\n</function>'
)
SUM = '{"name": "add", "arguments": {"a": 1, "b": "}\\""}}'
TOOLS = {"add": "{}", "now": "{}"}
Parts = tuple[str, str, list[tuple[str, str]]]  # thought, said, called


def taken_apart(text: str, cut: random.Random | None = None, **more: Any) -> Parts:
    asked: dict[str, Any] = {"thinks": False, "may_think": True, "guided": False, "repair": True} | more
    reply = Reply("c", tools=TOOLS if asked.pop("tools", True) else {}, **asked)
    pieces = []
    while text:
        size = cut.randint(1, 5) if cut else len(text)
        pieces += reply.push(text[:size])
        text = text[size:]
    pieces += reply.finish()
    calls: dict[str, tuple[str, str]] = {}
    for piece in pieces:
        if isinstance(piece, Called):
            before = calls.get(piece.id, ("", ""))[1]
            calls[piece.id] = (piece.name, before + piece.arguments)
    thought = "".join(piece.text for piece in pieces if isinstance(piece, Reasoning))
    said = "".join(piece.text for piece in pieces if isinstance(piece, Delta))
    return thought, said, list(calls.values())


ARGUMENTS = '{"a": 1, "b": "}\\""}'
CASES: list[tuple[str, Parts]] = [
    ("Hello <b>there</b> <", ("", "Hello <b>there</b> <", [])),
    ("<think>\nhm, <x>\n</think>\n\nYes.", ("hm, <x>", "Yes.", [])),
    ("<think>\nhm", ("hm", "", [])),
    ("<thinking is hard", ("", "<thinking is hard", [])),
    (f"Let me see.\n{CALL}", ("", "Let me see.", [("add", ARGUMENTS)])),
    (f"<think>a</think>{CALL}\n{NOW}", ("a", "", [("add", ARGUMENTS), ("now", "{}")])),
    (f"{CALL}\n{CALL}", ("", "", [("add", ARGUMENTS)])),
    (f"{BARE}\n{BARE}", ("", "", [("now", "{}")])),
    (
        '<tool_call>\n{"name": "add", "arguments": {"a": "</tool_call></think>", "b": "<think>"}}\n</tool_call> so',
        ("", "so", [("add", '{"a": "</tool_call></think>", "b": "<think>"}')]),
    ),
    (f'<tool_call>{{"a" "}}</tool_call>{NOW}', ("", '<tool_call>{"a" "}</tool_call>', [("now", "{}")])),
    (f'{BARE}\n{{"name": "now", "arguments": {{"x": 1}}}}', ("", "", [("now", "{}"), ("now", '{"x": 1}')])),
    ("<tool_call>\n{'name': 'now', 'arguments': {}}\n</tool_call>", ("", "", [("now", "{}")])),
    ('<tool_call>{"name": "now", "arguments": {"x": [1, 2', ("", "", [("now", '{"x": [1, 2]}')])),
    ('{"name": "now", "arguments": {}}', ("", "", [("now", "{}")])),
    ('```json\n{"name": "now", "arguments": {}}\n```', ("", "", [("now", "{}")])),
    ("<tool_call>nonsense</tool_call>!", ("", "<tool_call>nonsense</tool_call>!", [])),
    (
        '<tool_call>{"name": "rm", "arguments": {}}</tool_call>',
        ("", '<tool_call>{"name": "rm", "arguments": {}}</tool_call>', []),
    ),
    ('{"name": "Ada", "age": 3}', ("", '{"name": "Ada", "age": 3}', [])),
    # MiniCPM5's form, which it falls back on.
    (
        f"Let me see.\n{NAMED}\n<function name='now'></function> Done.",
        ("", "Let me see.Done.", [("add", '{"a": "1", "b": "</param></function> x < y\\n"}'), ("now", "{}")]),
    ),
    (f"{NAMED}{NAMED}", ("", "", [("add", '{"a": "1", "b": "</param></function> x < y\\n"}')])),
    ('See <function name="rm">x</function> <function', ("", 'See <function name="rm">x</function> <function', [])),
    ('<function name="now"> is cut', ("", '<function name="now"> is cut', [])),
    ("<function name=now> < x", ("", "<function name=now> < x", [])),
    (f"<tool_call>\n{BARE}\n{SUM}\n</tool_call> so", ("", "so", [("now", "{}"), ("add", ARGUMENTS)])),
    (f"<tool_call>\n{BARE}\n<tool_call>\n{SUM}\n</tool_call>", ("", "", [("now", "{}"), ("add", ARGUMENTS)])),
    (f"<tool_call>\n[{SUM}, {BARE}]\n</tool_call>", ("", "", [("add", ARGUMENTS), ("now", "{}")])),
    (f"<tool_call>\n{BARE}\n{BARE}\n</tool_call>", ("", "", [("now", "{}")])),
    ('<tool_call>{"name": "now", "arguments": null}</tool_call>', ("", "", [("now", "{}")])),
    (
        '<tool_call>{"name": "now", "arguments": {"a": 1e400}}</tool_call>',
        ("", '<tool_call>{"name": "now", "arguments": {"a": 1e400}}</tool_call>', []),
    ),
    (
        '<tool_call>{"name": "now", "arguments": {"a": "\\ud83d", "b": "\\ud83d\\ude00"}}</tool_call>',
        ("", "", [("now", '{"a": "\ufffd", "b": "😀"}')]),
    ),
]


@pytest.mark.parametrize(("text", "parts"), CASES, ids=[text[:30] for text, _ in CASES])
def test_text_is_taken_apart_the_same_in_one_piece_and_in_many(text: str, parts: Parts) -> None:
    assert taken_apart(text) == parts
    for seed in range(20):
        assert taken_apart(text, random.Random(seed)) == parts


def test_a_guided_call_comes_as_it_grows() -> None:
    both = [("add", ARGUMENTS), ("now", "{}")]
    for seed in range(20):
        assert taken_apart(f"{CALL}\n{NOW}", random.Random(seed), guided=True) == ("", "", both)
    reply = Reply("c", False, False, {"add": "{}"}, guided=True, repair=True)
    first = reply.push('<tool_call>\n{"name": "add", "arguments": {"a"')
    assert first == [Called(0, "c-0", "add", ""), Called(0, "c-0", "add", '{"a"')]
    assert reply.push(": 1") == [Called(0, "c-0", "add", ": 1")]


def test_a_call_without_tags_is_a_call_where_a_grammar_holds_the_others_too() -> None:
    assert taken_apart(BARE, guided=True) == ("", "", [("now", "{}")])


@pytest.mark.parametrize("guided", [False, True])
def test_a_repeated_call_is_noticed(guided: bool) -> None:
    reply = Reply("c", False, False, TOOLS, guided=guided, repair=True)
    reply.push(f"{CALL}\n{NOW}")
    assert not reply.repeated
    reply.push(f"\n{CALL}")
    assert reply.repeated


def test_a_guided_call_waits_until_it_is_none_that_was_made() -> None:
    both, more = [("add", ARGUMENTS), ("now", "{}")], CALL.replace("1", "12")
    for seed in range(20):
        cut = random.Random(seed)
        assert taken_apart(f"{CALL}\n{NOW}\n{CALL}", cut, guided=True) == ("", "", both)
        assert taken_apart(f"{CALL}\n{NOW}\n{CALL}", cut, guided=True, once=False)[2] == [*both, both[0]]
        assert taken_apart(f"{CALL}\n{NOW}\n{more}", cut, guided=True)[2] == [
            *both,
            ("add", ARGUMENTS.replace("1", "12")),
        ]
        assert taken_apart(f"{CALL}\n{CALL[:50]}", cut, guided=True)[2][1] == ("add", '{"a": 1, ')  # cut off


def test_repeated_calls_are_passed_on_where_the_guard_is_off() -> None:
    assert taken_apart(f"{BARE}\n{BARE}", once=False) == ("", "", [("now", "{}")] * 2)


def test_one_call_alone_is_passed_on_where_one_was_asked_for() -> None:
    assert taken_apart(f"<tool_call>\n{BARE}\n{SUM}\n</tool_call>", several=False)[2] == [("now", "{}")]


def test_an_answer_that_begins_inside_thinking() -> None:
    assert taken_apart("\nhm</think>\nYes", thinks=True) == ("hm", "Yes", [])


def test_without_tools_or_thinking_nothing_is_held_back() -> None:
    reply = Reply("c", False, False, {}, False, True)
    assert reply.push("<tool_call> \n") == [Delta("<tool_call> \n")]


def test_repair_can_be_turned_off() -> None:
    broken = "<tool_call>{'name': 'now', 'arguments': {}}</tool_call>"
    assert taken_apart(broken, repair=False) == ("", broken, [])
    assert taken_apart(CALL, repair=False)[2] == [("add", ARGUMENTS)]


@pytest.mark.parametrize("half", ["", "\n", '\n{"name": "add', '\n{"name": "add", "arguments": {"a'])
def test_the_beginning_of_a_call_that_a_limit_cut_off_is_no_answer(half: str) -> None:
    reply = Reply("c", False, False, TOOLS, False, True)
    pieces = [*reply.push(f"I add them.\n<tool_call>{half}"), *reply.finish(cut=True)]
    assert [piece.text for piece in pieces if isinstance(piece, Delta)] == ["I add them."]
    assert not [piece for piece in pieces if isinstance(piece, Called)]
    assert reply.mended
