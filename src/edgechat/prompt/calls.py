"""Streaming tool calls: a call's arguments as JSON text, while the model still writes it in the form it was taught.

    json   {"name": "weather", "arguments": {"city": "Paris", "days": 3}}       passed on as they stand

    xml    <function=weather>                     {
           <parameter=city>\\nParis\\n</parameter>    "city": "Paris"       text goes on at once, quoted
           <parameter=days>\\n3\\n</parameter>        , "days": 3           anything else when it is whole,
           </function>                            }                       as the tool's schema types it

A value may hold what looks like its end: that ends it only where another parameter, or the end of the call, follows,
and in a list or object only outside its strings. Mended are: a value that was not closed before its call was, and
arguments that stand in the function as JSON.

MiniCPM5 was taught a form of its own, and falls back on it where it was told another one. It is read when it is whole:

    <function name="weather"><param name="city"><![CDATA[Paris]]></param></function>
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Self

from edgechat.prompt import mend
from edgechat.prompt.detokenize import overlap
from edgechat.prompt.tools import CALLED
from edgechat.types import Called

FUNCTION, FUNCTIONED = "<function=", "</function>"
PARAMETER, PARAMETERED = "<parameter=", "</parameter>"
_AFTER_VALUE = (PARAMETER, FUNCTIONED, CALLED)
NAMED = "<function name="  # how MiniCPM5 begins a call, whatever it is told
_NAMED = re.compile(rf"""{NAMED}(["'])([^"'<>\n]+)\1\s*>""")
_NAMED_VALUE = re.compile(
    r"""<param\s+name=(["'])([^"'<>\n]+)\1\s*>(?:\s*<!\[CDATA\[(.*?)\]\]>\s*|(.*?))</param>""", re.DOTALL
)
_NAMED_END = re.compile(rf"<!\[CDATA\[.*?(?:\]\]>|\Z)|{FUNCTIONED}", re.DOTALL)
_WORDS = {"true": True, "false": False, "null": None, "none": None}


class Written:
    """A call that is being written."""

    rest: str  # of the text that it was begun with, after its name

    def __init__(self, index: int, id: str, name: str) -> None:
        self._index, self._id, self._name = index, id, name
        self._taken = ""
        self._passed = 0  # characters that were told
        self.ended = False
        self.told = False

    @property
    def call(self) -> mend.Call:
        """What was called, once it has ended."""
        return self._name, self._taken

    def may_become(self, call: mend.Call) -> bool:
        """Whether this is `call`, or its beginning."""
        return self._name == call[0] and call[1].startswith(self._taken)

    def tell(self) -> Iterator[Called]:
        """What was not told yet."""
        if not self.told:
            yield Called(self._index, self._id, self._name, "")
        if more := self._taken[self._passed :]:
            yield Called(self._index, self._id, self._name, more)
        self.told, self._passed = True, len(self._taken)

    def take(self, text: str) -> str:
        """Take in what of `text` is certain to belong to the arguments; the rest."""
        raise NotImplementedError

    def close(self, text: str) -> str:
        """End a call that was cut off at `text`, the rest of the last `take`; what of that is not its own."""
        raise NotImplementedError


class InJson(Written):
    """Held by a grammar: only then is its beginning certain."""

    def __init__(self, index: int, id: str, name: str, rest: str) -> None:
        super().__init__(index, id, name)
        self._depth, self._quoted, self._escaped = 0, False, False
        self.rest = rest

    @classmethod
    def begun(cls, text: str, id: str, index: int) -> Self | None:
        """The call that `text` begins, as soon as its name is whole."""
        head, found, rest = text.partition('"arguments": ')
        if not found:
            return None
        name: Any = json.loads(head.strip().rstrip(",") + "}")["name"]
        return cls(index, id, name, rest)

    def take(self, text: str) -> str:
        if self.ended:
            return text
        for at, character in enumerate(text):
            if self._quoted:
                self._quoted = character != '"' or self._escaped
                self._escaped = character == "\\" and not self._escaped
            elif character == '"':
                self._quoted = True
            else:
                self._depth += (character in "{[") - (character in "}]")
                if self._depth == 0:
                    self.ended = True
                    self._taken += text[: at + 1]
                    return text[at + 1 :]
        self._taken += text
        return ""

    def close(self, text: str) -> str:
        """It stays as it was cut: the grammar knows what it was to be, and nobody else does."""
        return text


class InXml(Written):
    """Certain from its first line on, which names a tool."""

    def __init__(self, index: int, id: str, name: str, rest: str, parameters: str) -> None:
        """`parameters`: the text of the tool's JSON schema."""
        super().__init__(index, id, name)
        self._schema = json.loads(parameters)
        self._value: frozenset[str] | None = None  # the types that the parameter may have whose value is being written
        self._begun = False  # some of that value was passed on
        self.rest = rest

    @classmethod
    def begun(cls, text: str, id: str, index: int, tools: Mapping[str, str]) -> Self | None:
        """The call that `text` begins, as soon as its name is whole and one of `tools`."""
        found = re.match(rf"\s*{FUNCTION}([^>\n]+)>", text)
        name = found[1].strip() if found else ""
        return cls(index, id, name, text[found.end() :], tools[name]) if found and name in tools else None

    @staticmethod
    def may_begin(text: str, tools: Mapping[str, str]) -> bool:
        """Whether `text`, which begins none yet, may still become one."""
        start = text.lstrip()
        return any((opening := f"{FUNCTION}{name}>").startswith(start) and start != opening for name in tools)

    def take(self, text: str) -> str:
        held = None
        while text != held and not self.ended:
            held = text
            text = self._name_of_next(text) if self._value is None else self._more_of_value(text, last=False)
        return text

    def close(self, text: str) -> str:
        if self._value is not None:
            text = self.take(self._more_of_value(text, last=True))
        elif self._is_json(text):
            self._take_json(text)
            return ""
        if not self.ended:
            self._end()
            return ""
        return text

    def _name_of_next(self, text: str) -> str:
        """Between two parameters: what is neither the next one nor the end is passed over."""
        if self._is_json(text):
            end = next(_outside_strings(text, FUNCTIONED), next(_outside_strings(text, CALLED), None))
            if end is None:
                return text
            self._take_json(text[:end])
            return text[end:].removeprefix(FUNCTIONED)
        at = text.find("<")
        text = "" if at < 0 else text[at:]
        if text.startswith(PARAMETER):
            key, found, rest = text.removeprefix(PARAMETER).partition(">")
            if not found:
                return text
            key = key.strip()
            self._taken += f"{', ' if self._taken else '{'}{json.dumps(key, ensure_ascii=False)}: "
            self._value, self._begun = kinds(self._schema.get("properties", {}).get(key), self._schema), False
            return rest
        if text.startswith(FUNCTIONED):
            self._end()
            return text.removeprefix(FUNCTIONED)
        if text.startswith(CALLED):
            self._end()  # the function's end was forgotten
            return text
        return text if any(tag.startswith(text) for tag in _AFTER_VALUE) else text[1:]

    def _is_json(self, text: str) -> bool:
        """Whether an object stands where parameters should: arguments as other models are taught them."""
        return not self._taken and text.lstrip().startswith("{")

    def _take_json(self, text: str) -> None:
        found = mend.value(text.strip(), repair=True)
        if isinstance(found, dict) and found:
            self._taken = mend.written(found).removesuffix("}")
        self._end()

    def _more_of_value(self, text: str, last: bool) -> str:
        """Take what is certain to be the value, and its end where that has come."""
        assert self._value is not None
        is_text = self._value == {"string"}
        end, certain = _end_of_value(text, last, is_text)
        if end is None and not is_text:
            return text
        value = text[: certain if end is None else end]
        if not self._begun and (value or end is not None):
            value = value.removeprefix("\n")
            self._taken += '"' * is_text
            self._begun = True
        if end is None:
            self._taken += _inside(value)
            return text[certain:]
        value = value.removesuffix("\n")
        self._taken += f'{_inside(value)}"' if is_text else mend.written(typed(value, self._value))
        self._value = None
        return text[end:].removeprefix(PARAMETERED)

    def _end(self) -> None:
        self._taken += "}" if self._taken else "{}"
        self.ended = True


def named(text: str, tools: Mapping[str, str], last: bool) -> tuple[mend.Call | None, int]:
    """The call in MiniCPM5's form that `text` begins with `NAMED`, and how many characters that is.

    0 where it may become one; without a call, so many that are none.
    """
    head = _NAMED.match(text)
    if head is None or head[2] not in tools:
        return None, len(NAMED) if head or last or ">" in text or "\n" in text else 0
    end = next((one.end() for one in _NAMED_END.finditer(text) if one[0] == FUNCTIONED), 0)
    if not end:
        return None, len(text) if last else 0
    schema = json.loads(tools[head[2]])
    values = {}
    for _, key, whole, plain in _NAMED_VALUE.findall(text[head.end() : end]):
        allowed = kinds(schema.get("properties", {}).get(key), schema)
        values[key] = whole or plain if allowed == {"string"} else typed(whole or plain, allowed)
    return (head[2], mend.written(values)), end


def _end_of_value(text: str, last: bool, is_text: bool) -> tuple[int | None, int]:
    """Where the value that `text` goes on with ends, if that is certain; how many characters are certainly its own."""
    in_json = not is_text and text.lstrip().startswith(("{", "["))
    for at in _outside_strings(text, PARAMETERED) if in_json else _every(text, PARAMETERED):
        after = text[at + len(PARAMETERED) :].lstrip()
        if after.startswith(_AFTER_VALUE) or (last and not after):
            return at, at
        if any(tag.startswith(after) for tag in _AFTER_VALUE) and not last:
            return None, at - text[:at].endswith("\n")
    if last and in_json:
        return _end_of_value(text, last, is_text=True)  # its quotes do not match
    certain = len(text) - max(overlap(text, tag) for tag in (f"\n{PARAMETERED}", PARAMETERED, f"\n{FUNCTIONED}"))
    for at in _every(text, f"\n{FUNCTIONED}"):
        after = text[at + 1 + len(FUNCTIONED) :].lstrip()
        if after.startswith(CALLED) or CALLED.startswith(after):  # maybe the value's own end was forgotten
            certain = min(certain, at)
    return (certain if last else None), certain


def _every(text: str, tag: str) -> Iterator[int]:
    """The places of `tag` in `text`."""
    return (found.start() for found in re.finditer(re.escape(tag), text))


def _outside_strings(text: str, tag: str) -> Iterator[int]:
    """Those that no JSON string holds."""
    found = re.finditer(rf'"(?:[^"\\]|\\.)*"?|{re.escape(tag)}', text, re.DOTALL)
    return (one.start() for one in found if one[0] == tag)


def typed(text: str, allowed: frozenset[str]) -> Any:
    """The value that `text` stands for, of one of the JSON types `allowed`; the text itself where it is of none."""
    word = text.strip()
    value = _WORDS[word.lower()] if word.lower() in _WORDS else mend.value(word, bool(allowed & {"object", "array"}))
    if isinstance(value, str) and "string" not in allowed:  # "3" for a number: small models put quotes around all
        value = typed(value, allowed)
    return value if _types_of(value) & allowed and (value is not None or word.lower() in _WORDS) else text


def kinds(schema: Any, root: Mapping[str, Any], depth: int = 8) -> frozenset[str]:
    """JSON's types that `schema`, a part of `root`, allows; where it names none, text, as Qwen's makers read it."""
    return _kinds(schema, root, depth) or frozenset({"string"})


def _kinds(schema: Any, root: Mapping[str, Any], depth: int) -> frozenset[str]:
    if not isinstance(schema, dict) or depth == 0:
        return frozenset()
    if isinstance(reference := schema.get("$ref"), str):
        return _kinds(resolved(reference, root), root, depth - 1)
    if named := schema.get("type"):
        return frozenset([named] if isinstance(named, str) else named)
    if values := schema.get("enum") or ([schema["const"]] if "const" in schema else []):
        return frozenset().union(*(sorted(_types_of(value))[:1] for value in values))
    ways = [way for key in ("anyOf", "oneOf", "allOf") for way in schema.get(key, ())]
    return frozenset().union(*(_kinds(way, root, depth - 1) for way in ways))


def resolved(reference: str, root: Mapping[str, Any]) -> Any:
    """The part of `root` that a `$ref` names; None where it names none."""
    found: Any = root
    for step in reference.removeprefix("#/").split("/"):
        found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
    return found


def _types_of(value: Any) -> frozenset[str]:
    """JSON's types that `value` is of, the most exact one first by the alphabet."""
    match value:
        case bool():
            return frozenset({"boolean"})
        case int():
            return frozenset({"integer", "number"})
        case float():
            return frozenset({"number", "integer"} if value.is_integer() else {"number"})
        case str():
            return frozenset({"string"})
        case list():
            return frozenset({"array"})
        case dict():
            return frozenset({"object"})
    return frozenset({"null"})


def _inside(text: str) -> str:
    """`text` as it stands inside a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]
