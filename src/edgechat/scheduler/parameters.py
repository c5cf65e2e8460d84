"""Constrained decoding of calls that are written as XML: a tool's JSON schema as a grammar, value by value. Pure.

    <function=add>            properties come in the schema's order; those that are not required may be left out
    <parameter=a>
    1                         a number, list or object as JSON of its schema; of an enumeration one of its words;
    </parameter>              any other text up to the tag
    </function>

What this form cannot hold (patterns, conditions between parameters) refuses a strict tool; elsewhere it is a hint, and
passed over.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from edgechat.errors import InvalidRequest
from edgechat.prompt.calls import FUNCTION, FUNCTIONED, PARAMETER, PARAMETERED, kinds, resolved
from edgechat.prompt.tools import CALLED
from edgechat.types import Tool

Schema = Mapping[str, Any]
TEXT = r"text[lazy]: /(?s:.*)\n<\/parameter>\n/" + "\n"  # a rule that every grammar of calls needs once
_CLOSING = json.dumps(f"{FUNCTIONED}\n{CALLED}")
_END = json.dumps(f"\n{PARAMETERED}\n")
_BETWEEN = frozenset(
    {"$ref", "allOf", "anyOf", "oneOf", "not", "if", "dependentRequired", "dependentSchemas", "minProperties"}
    | {"maxProperties", "patternProperties", "propertyNames"}
)


def rules(tool: Tool, name: str, as_json: Callable[[str], str]) -> str:
    """Lines of a grammar whose rule `name` is a call of `tool`, from the line after its tag to the closing tag.

    `as_json` is the grammar of a JSON value of a schema. Raises InvalidRequest for a strict tool that cannot be held.
    """
    return _Call(tool, name, as_json).lines()


class _Call:
    def __init__(self, tool: Tool, name: str, as_json: Callable[[str], str]) -> None:
        self._tool, self._name, self._as_json = tool, name, as_json
        self._root: dict[str, Any] = json.loads(tool.parameters)

    def lines(self) -> str:
        properties: Schema = self._root.get("properties", {})
        required = set(self._root.get("required", ()))
        for what in sorted(_BETWEEN & set(self._root)):
            self._let_go(f"`{what}`")
        for unknown in sorted(required - set(properties)):
            self._let_go(f"the required {unknown!r}, which is no property,")
        order = " ".join(f"{self._name}_{at}{'' if key in required else '?'}" for at, key in enumerate(properties))
        opening = json.dumps(f"\n{FUNCTION}{self._tool.name}>\n", ensure_ascii=False)
        whole = f"{self._name}: {opening} {order} {_CLOSING}\n"
        return whole + "".join(self._parameter(at, key, schema) for at, (key, schema) in enumerate(properties.items()))

    def _parameter(self, at: int, key: str, schema: Any) -> str:
        opening = json.dumps(f"{PARAMETER}{key}>\n", ensure_ascii=False)
        ways = " | ".join(dict.fromkeys(self._ways(key, schema, 8)))
        return f"{self._name}_{at}: {opening} ({ways})\n"

    def _ways(self, key: str, schema: Any, depth: int) -> Iterator[str]:
        """What the value may be, each with the closing tag."""
        schema = schema if isinstance(schema, dict) and depth else {}
        if isinstance(reference := schema.get("$ref"), str):
            yield from self._ways(key, resolved(reference, self._root), depth - 1)
            return
        if either := schema.get("anyOf") or schema.get("oneOf"):
            for way in either:
                yield from self._ways(key, way, depth - 1)
            return
        if values := schema.get("enum") or ([schema["const"]] if "const" in schema else []):
            for value in values:
                said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                yield json.dumps(f"{said}\n{PARAMETERED}\n", ensure_ascii=False)
            return
        types = kinds(schema, self._root)
        if "string" in types:
            yield self._text(key, schema)
        if others := types - {"string"}:
            shared = {name: self._root[name] for name in ("$defs", "definitions") if name in self._root}
            yield f"({self._as_json(json.dumps({**schema, 'type': sorted(others), **shared}))}) {_END}"

    def _text(self, key: str, schema: Schema) -> str:
        if "pattern" in schema:
            self._let_go(f"`pattern` of {key!r}")
        least, most = schema.get("minLength", 0), schema.get("maxLength", "")
        return rf"/(?s:.{{{least},{most}}})\n<\/parameter>\n/" if least or most != "" else "text"

    def _let_go(self, what: str) -> None:
        """`what` is not held: a strict tool is refused for it."""
        if self._tool.strict:
            raise InvalidRequest(
                f"{what} of the strict tool {self._tool.name!r} cannot be held: this model writes calls as XML, value "
                "by value. Leave it out, or the tool's `strict`.",
                "tools",
            )
