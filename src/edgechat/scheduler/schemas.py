"""JSON Schema as it is held: annotations are passed over, and what cannot be held is found by its place.

    schema ─► plain ─► compiles? ─ yes ─► the grammar
                          │ no
                          └─► culprit: the innermost keyword without which it would
                                 ├─ a hint  (a tool that is not strict)     left out, and told
                                 └─ an order (response_format, strict tool) another branch of its anyOf, else refused

JSON Schema 2020-12: `format` and its like say something and demand nothing.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

FORMATS = frozenset({"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"})
SUBSCHEMA = frozenset(
    {"additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then", "unevaluatedItems"}
    | {"unevaluatedProperties"}
)
LISTS = frozenset({"allOf", "anyOf", "items", "oneOf", "prefixItems"})
MAPS = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})
NOTES = frozenset(
    {"$comment", "$schema", "default", "deprecated", "description", "example", "examples", "readOnly", "title"}
    | {"writeOnly"}
)  # annotations, of any depth and length
SHARED = ("$defs", "definitions")  # what a $ref of any part may lead to
SAYS_NOTHING: tuple[Any, ...] = ({}, True, {"type": "string"})  # of names, which are always strings
LARGEST = {True: 10**18, False: 1e15}  # whole number or not: beyond it no limit is counted with
SMALLEST = 1e-15  # above 0
MOST_CHARACTERS = 1 << 16  # of a schema, without its annotations
MOST_DEPTH = 32
MOST_PATTERN = 512  # characters
MOST_DROPS = 32  # of one schema
MOST_LOOKS = 256  # at parts of one schema

Path = tuple[str | int, ...]
Compiles = Callable[[Any], bool]

# What to do about a keyword; of the others there is only to leave them out.
ADVICE = {
    "pattern": "it takes no look-around, back reference or word boundary",
    "oneOf": "its branches overlap: use anyOf",
    "uniqueItems": "that items differ is not looked at: leave it out",
    "$ref": "it leads to itself or out of the schema: put what it names under $defs",
    "type": "JSON has no such type",
}


class Unheld(Exception):
    """An order that cannot be held, and the place in it."""

    def __init__(self, path: Path) -> None:
        last = next((part for part in reversed(path) if isinstance(part, str)), "")
        super().__init__(f"{dotted(path)} cannot be held: {ADVICE.get(last, 'leave it out')}")


def dotted(path: Path) -> str:
    """A place in a schema, in the schema's own words."""
    return ".".join(map(str, path)) or "it"


def plain(schema: Any) -> Any:
    """`schema` without what demands nothing; limits of machine numbers become those that can be counted with."""
    if not isinstance(schema, dict):
        return schema
    kept = {key: _plain(key, value) for key, value in schema.items() if not _idle(key, value, schema)}
    if "anyOf" not in kept and _apart(kept.get("oneOf")):
        kept["anyOf"] = kept.pop("oneOf")
    return kept | _limits(kept)


def _apart(branches: Any) -> bool:
    """Whether `branches` name what they take, each something else: then only one of them can hold."""
    if not isinstance(branches, list) or not all(isinstance(one, dict) for one in branches):
        return False
    lists = [[one["const"]] if "const" in one else one.get("enum") for one in branches]
    if not all(isinstance(values, list) and values for values in lists):
        return False
    named = [value for values in lists for value in values]
    if not all(value is None or isinstance(value, str | bool | int) for value in named):
        return False
    return len({json.dumps(value) for value in named}) == len(named)  # true is not 1


def _plain(key: str, value: Any) -> Any:
    if key in LISTS and isinstance(value, list):
        return [plain(one) for one in value]
    if key in MAPS and isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return plain(value) if key in SUBSCHEMA else value


def _idle(key: str, value: Any, schema: dict[str, Any]) -> bool:
    """Whether a keyword demands nothing."""
    match key:
        case _ if key in NOTES or key.startswith("x-"):
            return True
        case "format":
            return value not in FORMATS if isinstance(value, str) else True
        case "uniqueItems":
            most = schema.get("maxItems")
            return value is False or (isinstance(most, int) and most <= 1)
        case "propertyNames":
            return plain(value) in SAYS_NOTHING
    return False


def excess(schema: str) -> str | None:
    """Why `schema`, the text of a plain one, is beyond reason, before anything compiles it."""
    if len(schema) > MOST_CHARACTERS:
        return f"the schema has {len(schema)} characters; at most {MOST_CHARACTERS} are taken."
    for depth, key, value in _walk(json.loads(schema)):
        if depth > MOST_DEPTH:
            return f"the schema is nested more than {MOST_DEPTH} deep."
        if key == "pattern" and isinstance(value, str) and len(value) > MOST_PATTERN:
            return f"a pattern has {len(value)} characters; at most {MOST_PATTERN} are taken."
    return None


def _walk(root: Any) -> Iterator[tuple[int, str, Any]]:
    """Every value under `root` with its depth and key."""
    left: list[tuple[int, str, Any]] = [(0, "", root)]
    while left:
        depth, key, value = left.pop()
        yield depth, key, value
        if isinstance(value, dict):
            left += [(depth + 1, name, item) for name, item in value.items()]
        elif isinstance(value, list):
            left += [(depth + 1, "", item) for item in value]


def _limits(schema: dict[str, Any]) -> dict[str, Any]:
    """The limits that are drawn in: whatever follows these follows those that were written."""
    kinds = schema.get("type")
    most = LARGEST["number" not in (kinds if isinstance(kinds, list) else [kinds or "number"])]
    drawn: dict[str, Any] = {}
    for key in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"):
        value = schema.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if ("inimum" in key and value < -most) or ("aximum" in key and value > most):
            drawn[key] = -most if value < 0 else most
        elif 0 < abs(value) < SMALLEST:
            drawn[key] = SMALLEST if "inimum" in key and value > 0 else 0
    return drawn


def held(schema: Any, order: bool, compiles: Compiles) -> tuple[Any, tuple[str, ...]]:
    """`schema`, which does not compile, as far as it can be held, and the places that a hint had to go without.

    Raises Unheld for an order that cannot be held whole.
    """
    dropped: list[str] = []
    for _ in range(MOST_DROPS):
        if compiles(schema):
            return schema, tuple(dropped)
        path = culprit(schema, compiles)
        branch = _branch(schema, path) if order else None
        if order and branch is None:
            raise Unheld(path)
        schema = json.loads(json.dumps(schema))
        if branch is None:
            dropped.append(dotted(path))
            if not path:
                return {}, tuple(dropped)
        _leave_out(schema, branch or path)
    if order:
        raise Unheld(())
    return {}, (*dropped, dotted(()))


def culprit(schema: Any, compiles: Compiles) -> Path:
    """The place of the innermost keyword without which its part of `schema` compiles, or of the part."""
    shared = {key: schema[key] for key in SHARED if key in schema} if isinstance(schema, dict) else {}
    for count, (path, part) in enumerate(_parts(schema, ())):
        if count == MOST_LOOKS:
            break
        if not isinstance(part, dict):
            continue
        whole = part if not path else shared | part
        if compiles(whole):
            continue
        keys = [key for key in part if compiles({name: value for name, value in whole.items() if name != key})]
        keys = keys or [key for key in part if key not in SHARED and not compiles(shared | {key: part[key]})]
        return (*path, min(keys, key=_weight)) if keys else path
    return ()


def _weight(key: str) -> tuple[bool, bool]:
    """What is blamed first: a keyword that demands, then one that holds others, then the type."""
    return key in ("type", *SHARED), key in MAPS or key in ("required", "additionalProperties")


def _parts(schema: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """Every schema in `schema`, the inner ones first."""
    keys = sorted(schema, key=lambda key: key not in SHARED) if isinstance(schema, dict) else ()
    for key in keys:
        value = schema[key]
        if key in LISTS and isinstance(value, list):
            for at, one in enumerate(value):
                yield from _parts(one, (*path, key, at))
        elif key in MAPS and isinstance(value, dict):
            for name, one in value.items():
                yield from _parts(one, (*path, key, name))
        elif key in SUBSCHEMA:
            yield from _parts(value, (*path, key))
    yield path, schema


def _branch(schema: Any, path: Path) -> Path | None:
    """The innermost branch of an anyOf on `path` that has others beside it: without it the rest still holds."""
    for end in range(len(path), 1, -1):
        if path[end - 2] == "anyOf" and isinstance(path[end - 1], int) and len(_at(schema, path[: end - 1])) > 1:
            return path[:end]
    return None


def _at(schema: Any, path: Path) -> Any:
    for part in path:
        schema = schema[part]
    return schema


def _leave_out(schema: Any, path: Path) -> None:
    """Take out what is at `path`. Of a oneOf, that only one of its branches holds is left out."""
    *way, last = path
    place = _at(schema, tuple(way))
    value = place.pop(last)
    if last == "oneOf" and "anyOf" not in place:
        place["anyOf"] = value
