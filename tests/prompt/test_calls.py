"""Calls that are written as XML: the same arguments however the text arrives, typed as the tool's schema has it."""

import json
import random
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from edgechat.prompt.calls import kinds, named, typed
from edgechat.prompt.reply import Reply
from edgechat.types import Called, Delta

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "exact": {"type": "boolean"},
        "where": {"$ref": "#/$defs/Place"},
        "unit": {"anyOf": [{"enum": ["C", "F"]}, {"type": "null"}]},
        "rows": {"type": "array"},
        "any": {},
    },
    "$defs": {"Place": {"type": "object", "properties": {"lat": {"type": "number"}}}},
}
TOOLS = {"weather": json.dumps(SCHEMA), "now": "{}"}


def reply(**more: Any) -> Reply:
    asked: dict[str, Any] = {"thinks": False, "may_think": False, "guided": False, "repair": True, "form": "xml"} | more
    return Reply("c", tools=TOOLS, **asked)


def parts(text: str, seed: int | None = None, **more: Any) -> tuple[str, list[tuple[str, str]]]:
    """What is said, and each call's name and arguments, of a text that comes at once or cut at random."""
    draw, made, pieces = random.Random(seed), reply(**more), []
    cuts = sorted(draw.sample(range(len(text)), min(len(text), 25))) if seed is not None else []
    for begin, end in pairwise([0, *cuts, len(text)]):
        pieces += made.push(text[begin:end])
    pieces += made.finish()
    calls: dict[str, tuple[str, str]] = {}
    for piece in pieces:
        if isinstance(piece, Called):
            calls[piece.id] = (piece.name, calls.get(piece.id, ("", ""))[1] + piece.arguments)
    return "".join(piece.text for piece in pieces if isinstance(piece, Delta)), list(calls.values())


def call(name: str = "weather", **values: str) -> str:
    inside = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in values.items())
    return f"<tool_call>\n<function={name}>\n{inside}</function>\n</tool_call>"


CASES: list[tuple[str, str, list[tuple[str, dict[str, Any]]]]] = [
    (call(city="Paris", days="3"), "", [("weather", {"city": "Paris", "days": 3})]),
    (f"Let me see.\n\n{call('now')}\n{call(city='x')}", "Let me see.", [("now", {}), ("weather", {"city": "x"})]),
    (call(exact="True", unit="null"), "", [("weather", {"exact": True, "unit": None})]),
    (call(unit="C", where='{"lat": 1.5}'), "", [("weather", {"unit": "C", "where": {"lat": 1.5}})]),
    (call(where="{'lat': 1.5}", rows="[1, [2]]"), "", [("weather", {"where": {"lat": 1.5}, "rows": [1, [2]]})]),
    (call(days="many", any="5", new="7"), "", [("weather", {"days": "many", "any": "5", "new": "7"})]),
    (call(city=' "a"\n\tb\\ 好 '), "", [("weather", {"city": ' "a"\n\tb\\ 好 '})]),
    (call(city=""), "", [("weather", {"city": ""})]),
    (
        call(city="a\n</parameter> b </function> c </tool_call> </think> <parameter=x", days="1"),
        "",
        [("weather", {"city": "a\n</parameter> b </function> c </tool_call> </think> <parameter=x", "days": 1})],
    ),
    ("<tool_call><function=now></function></tool_call> Done.", "Done.", [("now", {})]),
    ("<tool_call>\n<function=now>\n</tool_call>", "", [("now", {})]),
    (call("rm", all="1"), call("rm", all="1"), []),
    ('<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>', "", [("now", {})]),
    (call("now") * 2, "", [("now", {})]),
    ("<function=now>\n</function>\n</tool_call> Done.", "Done.", [("now", {})]),
    ("<function=nothing>", "<function=nothing>", []),
    ("Use <function=now> for it.", "Use <function=now> for it.", []),
    ("a <b> < c", "a <b> < c", []),
    # Values that look like something else.
    (call(city="007"), "", [("weather", {"city": "007"})]),
    (call(city="null"), "", [("weather", {"city": "null"})]),
    (call(city='{"a": [1]}'), "", [("weather", {"city": '{"a": [1]}'})]),
    (call(city="<![CDATA[ x < y &amp; ]]>"), "", [("weather", {"city": "<![CDATA[ x < y &amp; ]]>"})]),
    (call(city="\n\nx\n\n"), "", [("weather", {"city": "\n\nx\n\n"})]),
    (call(days="1e400"), "", [("weather", {"days": "1e400"})]),
    (call(where='{"lat": 1e400}'), "", [("weather", {"where": '{"lat": 1e400}'})]),
    (call(rows='["\\ud83d"]'), "", [("weather", {"rows": ["\ufffd"]})]),
    (
        call(where='{"name": "</parameter></function></tool_call>", "in": {"b": [true, null]}}', city="x"),
        "",
        [
            (
                "weather",
                {"where": {"name": "</parameter></function></tool_call>", "in": {"b": [True, None]}}, "city": "x"},
            )
        ],
    ),
    (call(rows='["a"]', city="x").replace('"]', "]"), "", [("weather", {"rows": ["a]"], "city": "x"})]),
    # Ends that were forgotten, and arguments in another model's form.
    (f"{call(city='a')}\nDone.".replace("</parameter>\n", ""), "Done.", [("weather", {"city": "a"})]),
    (f"{call(days='1').replace('</parameter>', '')}{call('now')}", "", [("weather", {"days": 1}), ("now", {})]),
    (
        call(city="1").replace("</function>", "</function>\n<function=now>\n</function>\n<function=rm>"),
        "<function=rm>\n</tool_call>",
        [("weather", {"city": "1"}), ("now", {})],
    ),
    (
        '<tool_call>\n<function=weather>\n{"city": "</function>", "days": 3}\n</function>\n</tool_call> Done.',
        "Done.",
        [("weather", {"city": "</function>", "days": 3})],
    ),
    ('<tool_call>\n<function=weather>\n{"days": 3', "", [("weather", {"days": 3})]),
    ("<tool_call>\n<function=now>\n{}\n</function>\n</tool_call>", "", [("now", {})]),
]


@pytest.mark.parametrize(("text", "said", "calls"), CASES, ids=[text[:40] for text, _, _ in CASES])
def test_a_call_is_the_same_in_one_piece_and_in_many(
    text: str, said: str, calls: list[tuple[str, dict[str, Any]]]
) -> None:
    for seed in (None, *range(40)):
        found = parts(text, seed)
        assert (found[0], [(name, json.loads(arguments)) for name, arguments in found[1]]) == (said, calls), seed


def test_text_goes_on_at_once_and_never_the_tag() -> None:
    made = reply()
    assert made.push("<tool_call>\n<function=weather>\n<parameter=city>\nPar") == [
        Called(0, "c-0", "weather", ""),
        Called(0, "c-0", "weather", '{"city": "Par'),
    ]
    assert made.push("is\n</para") == [Called(0, "c-0", "weather", "is")]
    assert made.push("meter>\n<parameter=days>\n1") == [Called(0, "c-0", "weather", '", "days": ')]
    assert made.push("2\n</parameter>\n</function>\n</tool_call>") == [Called(0, "c-0", "weather", "12}")]
    assert made.called


def cut_off(text: str) -> Iterator[str]:
    whole = text.index("<function=weather>") + len("<function=weather>")
    return (text[:at] for at in range(whole, len(text)))


def test_a_call_that_is_cut_off_is_closed_where_that_is_wished() -> None:
    for text in cut_off(call(city="Pa ris", days="12", where='{"lat": 1}')):
        _, ((_, arguments),) = parts(text)
        assert json.loads(arguments).keys() <= {"city", "days", "where"}
        _, ((_, raw),) = parts(text, repair=False)
        assert arguments.startswith(raw) or json.loads(raw) == json.loads(arguments)


@pytest.mark.parametrize(
    ("text", "allowed", "value"),
    [
        ("5", {"integer"}, 5),
        ("5.0", {"integer"}, 5.0),
        ("5.5", {"integer"}, "5.5"),
        ("5", {"string"}, "5"),
        ('"5"', {"integer"}, 5),
        ('"True"', {"boolean"}, True),
        ('"[1]"', {"array", "null"}, [1]),
        ('"many"', {"integer"}, '"many"'),
        ('"null"', {"integer"}, '"null"'),
        ("true", {"boolean"}, True),
        ("1", {"boolean"}, "1"),
        ("null", {"string"}, "null"),
        ("NaN", {"number"}, "NaN"),
        ("[1,", {"array"}, [1]),
        ("", {"integer"}, ""),
    ],
)
def test_a_value_is_what_the_schema_allows_or_the_text_itself(text: str, allowed: set[str], value: Any) -> None:
    found = typed(text, frozenset(allowed))
    assert (found, type(found)) == (value, type(value))


def test_types_are_found_behind_references_and_alternatives() -> None:
    ring = {"$ref": "#/$defs/Ring", "$defs": {"Ring": {"$ref": "#/$defs/Ring"}}}
    assert kinds(ring, ring) == {"string"}
    assert kinds({"$ref": "#/$defs/none"}, {}) == {"string"}
    assert kinds({"enum": [1, "a", None]}, {}) == {"integer", "string", "null"}
    assert kinds({"allOf": [{"const": 1.5}]}, {}) == {"number"}


def test_a_call_without_its_tag_is_none_where_a_grammar_holds_calls() -> None:
    text = "<function=now>\n</function>"
    assert parts(text, guided=True) == (text, [])


@pytest.mark.parametrize("quote", ['"', "'"])
def test_values_in_minicpms_form_have_their_types_too(quote: str) -> None:
    values = {"city": "007", "days": "<![CDATA[3]]>", "where": '{"lat": 1}', "exact": "True", "new": " a < b "}
    inside = "\n".join(f'<param name="{key}">{value}</param>' for key, value in values.items())
    text = f'<function name="weather">\n{inside}\n</function>'.replace('="', f"={quote}").replace('">', f"{quote}>")
    call, size = named(f"{text} more", TOOLS, last=False)
    assert call is not None
    assert (call[0], json.loads(call[1]), size) == (
        "weather",
        {"city": "007", "days": 3, "where": {"lat": 1}, "exact": True, "new": " a < b "},
        len(text),
    )
