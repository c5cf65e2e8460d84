"""Grammars, on the fake engine's vocabulary of bytes."""

import json
import random
import re
import threading
from contextlib import nullcontext

import jsonschema
import llguidance
import pytest

from edgechat.engine.fake import END, Bytes
from edgechat.errors import InvalidRequest
from edgechat.scheduler.constrain import Constrainer, Grammar
from edgechat.types import GenRequest, Tool
from tests.schemas import schema_number

CONSTRAINER = Constrainer(Bytes())
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def grammar(thinks: bool = False, may_think: bool = False, **asked: object) -> Grammar:
    made = CONSTRAINER.grammar(GenRequest((), **asked), thinks, may_think)  # type: ignore[arg-type]
    assert made is not None
    return made


def allows(grammar: Grammar, text: str) -> bool:
    """Whether `text` may be said; takes in what of it may."""
    for letter in text.encode():
        if not grammar.mask()[letter // 8] >> letter % 8 & 1:
            return False
        grammar.accept(letter)
    return True


def may_end(grammar: Grammar) -> bool:
    return bool(grammar.mask()[END // 8] >> END % 8 & 1)


def test_free_answers_have_none() -> None:
    assert CONSTRAINER.grammar(GenRequest(()), False, False) is None
    assert CONSTRAINER.grammar(GenRequest((), tools=(Tool("f"),)), False, False) is None


def test_only_what_follows_the_schema_may_be_said() -> None:
    made = grammar(schema=json.dumps(PERSON))
    assert allows(made, '{"name": "Ada", "age": 36')
    assert not may_end(made)
    assert allows(made, "}")
    assert made.complete
    assert not allows(grammar(schema=json.dumps(PERSON)), '{"age"')


@pytest.mark.parametrize(
    "text", ["", "{", '{"na', '{"name": "A', '{"name": "A\\', '{"name": "\\u00', '{"name": "A", "age": -']
)
def test_a_cut_off_text_is_closed_legally(text: str) -> None:
    made = grammar(schema=json.dumps(PERSON))
    assert allows(made, text)
    value = json.loads(text + bytes(made.closing()).decode())
    assert set(value) == {"name", "age"}


class Words(Bytes):
    """A vocabulary that has some words whole: where they are forced, no other spelling is allowed."""

    words = (b"name", b'": ', b'"age', b"ag")
    size = 259 + len(words)

    def piece(self, token: int) -> bytes:
        return self.words[token - 259] if token >= 259 else super().piece(token)

    def encode(self, text: str) -> list[int]:
        found = re.split(b"(" + b"|".join(map(re.escape, self.words)) + b")", text.encode())
        return [id for part in found for id in ([259 + self.words.index(part)] if part in self.words else part)]


def test_what_plain_letters_never_close_stays_cut_off() -> None:
    made = grammar(schema='{"type": "string", "pattern": "x"}')
    assert allows(made, '"')
    assert made.closing() == []


def test_closing_spells_as_the_tokeniser_does() -> None:
    tokenizer = Words()
    for text in ("", "{", '{"', '{"n', '{"name": "x', '{"name": "x", "a'):
        made = Constrainer(tokenizer).grammar(GenRequest((), schema=json.dumps(PERSON)), False, False)
        assert made is not None
        for letter in text.encode():
            made.accept(letter)
        rest = b"".join(tokenizer.piece(token) for token in made.closing())
        jsonschema.validate(json.loads(text + rest.decode()), PERSON)


def test_closing_obeys_the_schema_however_odd() -> None:
    odd = {
        "type": "object",
        "properties": {
            "code": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{2}$"},
            "list": {"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 2},
            "date": {"type": "string", "format": "date"},
        },
        "required": ["code", "list", "date"],
        "additionalProperties": False,
    }
    value = json.loads(bytes(grammar(schema=json.dumps(odd)).closing()))
    assert len(value["list"]) >= 2
    assert len(value["code"]) == 6


@pytest.mark.parametrize("seed", range(200))
def test_whatever_is_allowed_ends_in_what_the_schema_allows(seed: int) -> None:
    """Letters are drawn blindly and cut off anywhere; another implementation judges the closed text."""
    schema, dice = schema_number(seed), random.Random(seed)
    made, said = grammar(schema=json.dumps(schema)), bytearray()
    for _ in range(dice.randrange(80)):
        mask = made.mask()
        legal = [letter for letter in range(256) if mask[letter // 8] >> letter % 8 & 1]
        if made.complete or not legal:
            break
        said.append(dice.choice([letter for letter in legal if 32 <= letter < 127] or legal))
        made.accept(said[-1])
    jsonschema.validate(json.loads(said + bytes(made.closing())), schema)


def test_thinking_comes_before_the_schema() -> None:
    for made in (grammar(thinks=True, schema="{}"), grammar(may_think=True, schema="{}")):
        assert allows(made, "hm {</think>\n\n[1]" if made.mask()[ord("h") // 8] & 1 else "<think>hm {</think>\n\n[1]")
        assert may_end(made)


def test_a_required_call_is_all_that_may_be_said() -> None:
    tools = (Tool("add", parameters=json.dumps(PERSON)), Tool("now"))
    made = grammar(tools=tools, tool_choice="required")
    assert allows(made, '<tool_call>\n{"name": "add", "arguments": {"name": "x", "age": 1}}\n</tool_call>')
    assert may_end(made)
    assert allows(made, '\n<tool_call>\n{"name": "now", "arguments": {')
    assert not allows(grammar(tools=tools, tool_choice="required"), "Hello")
    named = grammar(tools=tools, tool_choice="required", tool_names=("now",), parallel_tool_calls=False)
    assert not allows(named, '<tool_call>\n{"name": "a')


def test_a_strict_tool_may_be_called_or_not() -> None:
    tools = (Tool("add", parameters=json.dumps(PERSON), strict=True),)
    made = grammar(tools=tools)
    assert allows(made, "I could <b>")
    assert may_end(made)
    assert allows(made, '\n<tool_call>\n{"name": "add", "arguments": {"name": "x", "age": ')
    assert not allows(made, '"')


def test_a_schema_and_tools_are_one_or_the_other() -> None:
    tools = (Tool("now"),)
    assert allows(grammar(tools=tools, schema=json.dumps(PERSON)), '{"name": "x", "age": 1}')
    assert allows(grammar(tools=tools, schema=json.dumps(PERSON)), '<tool_call>\n{"name": "now"')


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "(?=a)b"},
        {"type": "string", "pattern": "(" * 200},
        {"type": "string", "pattern": "a" * 513},
        {"$ref": "#/nowhere"},
        {"type": "wizard"},
        {"enum": ["x" * 70_000]},
    ],
    ids=lambda schema: json.dumps(schema)[:40],
)
def test_a_schema_that_does_not_compile_is_refused(schema: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        grammar(schema=json.dumps(schema))
    assert caught.value.param == "response_format"
    assert "\n" not in str(caught.value)
    assert " | " not in str(caught.value)  # the grammar that the library made of it


def test_a_schema_nested_beyond_reason_is_refused() -> None:
    deep: dict[str, object] = {"type": "string"}
    for _ in range(40):
        deep = {"type": "array", "items": deep}
    with pytest.raises(InvalidRequest, match="deep"):
        grammar(schema=json.dumps(deep))


def in_xml(*tools: Tool, **asked: object) -> Grammar:
    made = CONSTRAINER.grammar(GenRequest((), tools=tools, **asked), False, False, "xml")  # type: ignore[arg-type]
    assert made is not None
    return made


PLACE = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 1},
        "unit": {"anyOf": [{"type": "string", "enum": ["C", "F"]}, {"type": "null"}]},
        "code": {"type": "string", "minLength": 2, "maxLength": 3},
        "at": {"$ref": "#/$defs/At"},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
    "$defs": {"At": {"type": "object", "properties": {"lat": {"type": "number"}}, "required": ["lat"]}},
}
WEATHER = Tool("weather", parameters=json.dumps(PLACE), strict=True)


def test_a_call_in_xml_follows_the_schema_parameter_by_parameter() -> None:
    head = "<tool_call>\n<function=weather>\n<parameter=city>\nP<a>\n\nris\n</parameter>\n<parameter=days>\n"
    made = in_xml(WEATHER, tool_choice="required")
    assert allows(made, f"{head}3\n</parameter>\n</function>\n</tool_call>")
    assert may_end(made)
    assert allows(made, "\n<tool_call>\n<function=weather>\n<parameter=city>\n\n</parameter>\n<parameter=")
    for wrong in (
        "<tool_call>\n<function=w>",
        "<tool_call>\n<function=weather>\n<parameter=days>",
        f"{head}0",
        f"{head}x",
    ):
        assert not allows(in_xml(WEATHER, tool_choice="required"), wrong), wrong
    rest = "2\n</parameter>\n<parameter=unit>\nnull\n</parameter>\n<parameter=code>\nab\n</parameter>\n"
    assert allows(
        in_xml(WEATHER), f"Well: {head}{rest}" + '<parameter=at>\n{"lat": 1.5}\n</parameter>\n</function>\n</tool_call>'
    )
    for wrong in ("<parameter=unit>\nK", "<parameter=code>\na\n</", "<parameter=code>\nabcd", '<parameter=at>\n{"x"'):
        assert not allows(in_xml(WEATHER), f"{head}2\n</parameter>\n{wrong}"), wrong


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"properties": {"a": {"type": "string", "pattern": "^a+$"}}}, "`pattern` of 'a'"),
        ({"minProperties": 1}, "`minProperties`"),
        ({"required": ["b"]}, "the required 'b', which is no property,"),
    ],
)
def test_what_xml_cannot_hold_refuses_a_strict_tool_and_is_passed_over_for_a_hint(
    more: dict[str, object], why: str
) -> None:
    parameters = json.dumps({"type": "object", "properties": {"a": {"type": "string"}}} | more)
    with pytest.raises(InvalidRequest, match=f"{why} of the strict tool 'f' cannot be held") as caught:
        in_xml(Tool("f", parameters=parameters, strict=True))
    assert caught.value.param == "tools"
    made = in_xml(Tool("f", parameters=parameters), tool_choice="required")
    assert allows(made, "<tool_call>\n<function=f>\n<parameter=a>\nx\n</parameter>\n</function>\n</tool_call>")


def test_a_call_within_the_thinking_is_thought_not_held() -> None:
    made = grammar(thinks=True, tools=(Tool("add", parameters=json.dumps(PERSON), strict=True),))
    assert allows(made, "I could <tool_call> it, or not.</think>\n\nNo.")
    assert allows(made, '<tool_call>\n{"name": "add"')


def test_an_end_of_thinking_inside_a_string_closes_no_string() -> None:
    made = grammar(schema=json.dumps(PERSON))
    assert allows(made, '{"name": "a</think>')
    assert json.loads('{"name": "a</think>' + bytes(made.closing()).decode())["name"] == "a</think>"


def test_a_call_of_a_strict_tool_without_its_tags_is_held_to_its_schema_too() -> None:
    tools = (Tool("add.it", parameters=json.dumps(PERSON), strict=True), Tool("now"))
    made = grammar(tools=tools)
    assert allows(made, '{"name": "add.it", "arguments": {"name": "x", "age": 1}}')
    assert may_end(made)
    assert not allows(made, "{")
    assert not allows(grammar(tools=tools), '{"name": "add.it", "arguments": {"more')
    for text in (
        '{"name": "addxit", "age": 1}',
        '{"name": "now", "arguments": {"a": 1}}',
        'See {"name": "add.it", "x"',
    ):
        said = grammar(tools=tools)
        assert allows(said, text)
        assert may_end(said)


def test_arguments_that_were_held_to_nothing_follow_a_strict_tool_or_not() -> None:
    made = grammar(tools=(Tool("add", parameters=json.dumps(PERSON), strict=True), Tool("now")))
    assert made.fits(("add", '{"name": "Zoë", "age": 1}'))
    assert not made.fits(("add", '{"name": "x", "age": 1, "more": 2}'))
    assert not made.fits(("add", '{"name": "x"}'))
    assert not made.fits(("add", "{}"))
    assert made.fits(("now", '{"anything": 1}'))


@pytest.mark.parametrize("had", [0.0, 5.0], ids=["that others keep from the cores", "that takes the cores"])
def test_a_schema_is_refused_for_the_work_it_makes_and_not_for_a_busy_machine(
    monkeypatch: pytest.MonkeyPatch, had: float
) -> None:
    """The first look finds nothing made yet; what it says of the thread decides."""
    looked, make = threading.Event(), llguidance.LLMatcher

    def spent(thread: threading.Thread) -> float:
        looked.set()
        return had

    def slow(*asked: object, **more: object) -> llguidance.LLMatcher:
        looked.wait(60)
        return make(*asked, **more)  # type: ignore[arg-type]

    constrainer = Constrainer(Bytes())
    assert constrainer.grammar(GenRequest((), schema='{"type": "null"}'), False, False) is not None
    monkeypatch.setattr("edgechat.scheduler.constrain.COMPILE_S", 0.02)
    monkeypatch.setattr("edgechat.scheduler.constrain.PATIENCE", 10_000)
    monkeypatch.setattr("edgechat.scheduler.constrain._spent", spent)
    monkeypatch.setattr(llguidance, "LLMatcher", slow)
    slow.grammar_from_lark = make.grammar_from_lark  # type: ignore[attr-defined]
    asked = GenRequest((), schema='{"type": "boolean"}')
    with pytest.raises(InvalidRequest, match="not ready") if had else nullcontext():
        assert constrainer.grammar(asked, False, False) is not None
