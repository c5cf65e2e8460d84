"""Schemas as clients write them: notes demand nothing, a hint is held as far as it can be, an order whole or not."""

import json
from typing import Any

import jsonschema
import pytest

from edgechat.engine.fake import Bytes
from edgechat.errors import InvalidRequest
from edgechat.scheduler.constrain import Constrainer, Grammar
from edgechat.scheduler.schemas import SMALLEST, plain
from edgechat.types import GenRequest, Tool

CONSTRAINER = Constrainer(Bytes())
EMAIL = r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$"
DECIMAL = r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"


def of(value: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An object with one member."""
    return {"type": "object", "properties": {"v": value}, "required": ["v"], "additionalProperties": False, **more}


def made(**asked: Any) -> Grammar:
    grammar = CONSTRAINER.grammar(GenRequest((), **asked), False, False)
    assert grammar is not None
    return grammar


def written(grammar: Grammar) -> Any:
    """The plainest text that follows it."""
    return json.loads("".join(chr(token) for token in grammar.closing()))


@pytest.mark.parametrize(
    "schema",
    [
        *[of({"type": "string", "format": name}) for name in ("path", "binary", "password", "regex", "uri-reference")],
        *[of({"type": "string", "format": name}) for name in ("date-time", "uuid", "idn-email", "int64")],
        of({"type": ["string", "null"], "format": "uint8"}),
        of({"type": "array", "items": {"type": "string"}, "uniqueItems": False}),
        of({"type": "array", "items": {"type": "string"}, "uniqueItems": True, "maxItems": 1}),
        of({"type": "object", "propertyNames": {"type": "string", "title": "Key"}}),
        of({"type": "object", "propertyNames": {}}),
        of({"type": "string", "title": "t", "default": "d", "examples": ["e"], "deprecated": True, "readOnly": True}),
        of({"type": "integer", "minimum": -(1 << 63), "maximum": (1 << 63) - 1}),
        of({"type": "integer", "format": "uint64", "minimum": 0, "maximum": (1 << 64) - 1}),
        of({"type": "number", "minimum": -1.7976931348623157e308, "maximum": 1.7976931348623157e308}),
        of({"type": "number", "minimum": -3.4028234663852886e38, "exclusiveMaximum": 3.4028234663852886e38}),
        of({"type": "string"}, **{"$schema": "https://spec.openapis.org/oas/3.1/dialect/base"}),
        of({"type": "string"}, **{"$schema": "http://json-schema.org/draft-04/schema#", "$id": "https://a.example/b"}),
        of({"oneOf": [{"const": 1}, {"const": 2, "title": "Two"}, {"const": True}, {"enum": [None, "x"]}]}),
        of({"anyOf": [{"type": "number"}, {"type": "string", "pattern": DECIMAL}]}),
        of({"anyOf": [{"type": "string", "pattern": DECIMAL}, {"anyOf": [{"not": {}}, {"type": "null"}]}]}),
    ],
    ids=lambda schema: json.dumps(schema)[36:90],
)
def test_what_demands_nothing_refuses_nothing_and_the_answer_follows(schema: dict[str, Any]) -> None:
    answer = written(made(schema=json.dumps(schema)))
    jsonschema.validate(answer, {key: value for key, value in schema.items() if key != "$schema"})
    call = made(tools=(Tool("f", parameters=json.dumps(schema), strict=True),))
    assert call.unheld == ()


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        (of({"type": "string", "pattern": EMAIL}), "properties.v.pattern"),
        (of({"anyOf": [{"type": "string", "pattern": DECIMAL}]}), "properties.v.anyOf.0.pattern"),
        (of({"type": "array", "items": {"type": "string"}, "uniqueItems": True}), "properties.v.uniqueItems"),
        (of({"type": "object", "propertyNames": {"enum": ["a"]}}), "properties.v.propertyNames"),
        (of({"oneOf": [{"type": "integer"}, {"type": "number"}]}), "properties.v.oneOf"),
        (of({"not": {"type": "string"}}), "properties.v.not"),
        (of({"$ref": "https://a.example/b"}), "properties.v.$ref"),
        (of({"$ref": "#/$defs/x"}, **{"$defs": {"x": {"type": "string", "pattern": "(a)\\1"}}}), "$defs.x.pattern"),
        (of({"type": "array", "items": {"type": "string", "pattern": "\\bfoo"}}), "properties.v.items.pattern"),
        ({"type": "object", "if": {}, "then": {}}, "if"),
    ],
    ids=lambda value: json.dumps(value)[36:90],
)
def test_what_cannot_be_held_is_refused_by_its_place_or_told(schema: dict[str, Any], place: str) -> None:
    for asked in (
        {"schema": json.dumps(schema)},
        {"tools": (Tool("mail", parameters=json.dumps(schema), strict=True),)},
    ):
        with pytest.raises(InvalidRequest) as refused:
            made(**asked)
        said = str(refused.value)
        assert f"{place} cannot be held" in said
        assert ("'mail'" in said) == ("tools" in asked)
        assert not any(word in said for word in ("coerce", "regex parse", "Unimplemented", "registry", "lenient"))
    hint = Tool("mail", parameters=json.dumps(schema))
    assert made(tools=(hint,), tool_choice="required").unheld[0] == f"tools.mail.{place}"


def test_a_strict_tool_beside_a_hint_leaves_it_one() -> None:
    tools = (
        Tool("mail", parameters=json.dumps(of({"type": "string", "pattern": EMAIL}))),
        Tool("now", parameters=json.dumps(of({"type": "string", "pattern": "^[a-z]+$"})), strict=True),
    )
    assert made(tools=tools).unheld == ("tools.mail.properties.v.pattern",)


def test_a_hint_is_held_in_all_else() -> None:
    schema = of({"type": "string", "pattern": EMAIL})
    grammar = made(tools=(Tool("mail", parameters=json.dumps(schema)),), tool_choice="required")
    text = '<tool_call>\n{"name": "mail", "arguments": {"w'
    for at, letter in enumerate(text.encode()):
        allowed = grammar.mask()[letter // 8] >> letter % 8 & 1
        assert bool(allowed) == (at < len(text) - 1)
        if allowed:
            grammar.accept(letter)


def test_the_least_of_numbers_is_one_that_can_be_counted_with() -> None:
    assert plain({"type": "number", "exclusiveMinimum": 5e-324})["exclusiveMinimum"] == SMALLEST
    assert plain({"type": "number", "minimum": -5e-324})["minimum"] == 0


def test_data_in_a_schema_is_data() -> None:
    schema = {"enum": [{"format": "path"}], "properties": {"format": {"const": {"$schema": 1}}, "uniqueItems": {}}}
    assert plain(schema) == schema


def test_a_hint_beyond_all_is_none() -> None:
    parts = {f"p{at}": {"type": "string", "pattern": EMAIL} for at in range(40)}
    tool = Tool("f", parameters=json.dumps({"type": "object", "properties": parts}))
    unheld = made(tools=(tool,), tool_choice="required").unheld
    assert unheld[0] == "tools.f.properties.p0.pattern"
    assert unheld[-1] == "tools.f.it"


@pytest.mark.parametrize(
    "branches",
    [
        [{"const": 1}, {"const": 1.0}],
        [{"const": 1}, {"type": "integer"}],
        [{"enum": [1, 2]}, {"const": 2}],
        [{"enum": 5}, {"const": 2}],
        [{"const": []}, {"const": {}}],
    ],
)
def test_branches_that_may_hold_together_are_no_choice(branches: list[dict[str, Any]]) -> None:
    assert "oneOf" in plain({"oneOf": branches})


def nested(depth: int, value: Any) -> Any:
    """`value` within that many objects."""
    for _ in range(depth):
        value = {"v": value}
    return value


@pytest.mark.parametrize("key", ["default", "examples", "$comment", "x-origin", "description"])
def test_annotations_may_be_as_deep_and_as_long_as_they_like(key: str) -> None:
    note = "n" * 70_000 if key == "description" else [nested(40, "n")]
    schema = of({"type": "string", key: note})
    assert isinstance(written(made(schema=json.dumps(schema)))["v"], str)
    assert made(tools=(Tool("f", parameters=json.dumps(schema), strict=True),)).unheld == ()


@pytest.mark.parametrize(
    "schema",
    [
        nested(20, {}) | {"type": "object", "properties": {"v": {"enum": [nested(40, 1)]}}},
        of({"type": "string", "pattern": "a" * 600}),
        of({"type": "string", "enum": ["e" * 70_000]}),
    ],
    ids=["deep", "a long pattern", "long"],
)
def test_a_hint_beyond_reason_is_told_and_an_order_refused(schema: dict[str, Any]) -> None:
    hint = Tool("f", parameters=json.dumps(schema))
    grammar = made(tools=(hint,), tool_choice="required")
    assert grammar.unheld == ("tools.f.it",)
    for asked in ({"schema": hint.parameters}, {"tools": (Tool("f", parameters=hint.parameters, strict=True),)}):
        with pytest.raises(InvalidRequest):
            made(**asked)
