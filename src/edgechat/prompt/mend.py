"""Lenient parsing of tool calls as small models write them: read, and mended where only the syntax is broken. Pure,
linear, no eval.

Mended are: code fences, missing tags, several calls between two tags, single quotes, Python's True, False and None,
commas before a closing bracket, brackets and quotes missing at the end, arguments written as a string or left out.
Never what is meant: a name that is no tool's or arguments that are no object are not a call.
"""

import json
import re
from collections.abc import Collection
from math import isfinite
from typing import Any, NoReturn

MOST = 1 << 16  # characters of one call
_WORDS = {"True": "true", "False": "false", "None": "null"}
_FENCE = re.compile(r"\s*(```(?:json)?\s*)?")
_CLOSING = re.compile(r"\s*```")
Call = tuple[str, str]  # name, arguments as JSON text


def read(text: str, tools: Collection[str], repair: bool) -> tuple[list[Call], bool]:
    """The calls that `text` is, usually one, and whether it had to be mended."""
    if len(text) > MOST:
        return [], False
    call = _call(_loads(text.strip()), tools, strict=True)
    if call is not None or not repair:
        return [call] if call else [], False
    calls = _calls(_unfenced(text), tools)
    return calls, bool(calls)


def _calls(text: str, tools: Collection[str]) -> list[Call]:
    """What `text` begins with: a call, or a list of calls; then those that follow it."""
    found: list[Call] = []
    while text:
        json_text, rest = _mended(text)
        value = _loads(json_text)
        calls = [_call(one, tools, strict=False) for one in (value if isinstance(value, list) else [value])]
        if not calls or None in calls:
            break
        found += [call for call in calls if call is not None]
        at = rest.find("{")
        text = "" if at < 0 else rest[at:]
    return found


def bare(text: str, tools: Collection[str]) -> int | None:
    """How many characters of `text` are a call without its tags: an object that names a tool, maybe fenced.

    0 where it may become one; None where it is none.
    """
    packed = "".join(_unfenced(text, open_too=True).split()) if len(text) < MOST else ""
    starts = [f'{{"name":"{name}","arguments":' for name in tools]
    if not text.strip() or not any(packed.startswith(start) or start.startswith(packed) for start in starts):
        return None
    fence = _FENCE.match(text)
    try:
        value, end = json.JSONDecoder().raw_decode(text, fence.end() if fence else 0)
    except (ValueError, RecursionError):
        return 0
    if fence and fence[1]:
        closing = _CLOSING.match(text, end)
        end = closing.end() if closing else 0
    return end if _call(value, tools, strict=True) else 0


def value(text: str, repair: bool) -> Any:
    """What `text` is in JSON, mended where that is wanted and helps; None where it is nothing."""
    found = _loads(text)
    return _loads(_mended(text)[0]) if found is None and repair and len(text) <= MOST else found


def written(value: Any) -> str:
    """`value` as JSON. Half a character, as an escape may be (an emoji cut in two), is replaced: UTF-8 has none."""
    return whole(json.dumps(value, ensure_ascii=False))


def whole(text: str) -> str:
    """`text` with halves of characters replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _loads(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        return None


def _refuse(word: str) -> NoReturn:
    """NaN and Infinity are Python's words, not JSON's."""
    raise ValueError(word)


def _finite(digits: str) -> float:
    """A number that JSON can tell again: 1e400 is Infinity to Python."""
    number = float(digits)
    return number if isfinite(number) else _refuse(digits)


def _call(value: Any, tools: Collection[str], strict: bool) -> Call | None:
    if not isinstance(value, dict) or value.get("name") not in tools:
        return None
    arguments = value.get("arguments", None if strict else value.get("parameters", {}))
    if not strict and arguments in (None, ""):
        arguments = {}
    if isinstance(arguments, str) and not strict:
        arguments = _loads(arguments)
    return (value["name"], written(arguments)) if isinstance(arguments, dict) else None


def _unfenced(text: str, open_too: bool = False) -> str:
    """`text` without the code fence around it."""
    text = text.strip()
    if open_too and "```json".startswith(text):
        return ""
    if text.startswith("```"):
        text = text[3:].removeprefix("json").lstrip()
        text = text.removesuffix("```").rstrip()
    return text


def _mended(text: str) -> tuple[str, str]:
    """The value that `text` begins with, with quotes, words, commas and ends as in JSON, and the rest. One pass."""
    out: list[str] = []
    ends: list[str] = []  # brackets still to be closed
    at = 0
    while at < len(text):
        letter = text[at]
        if letter in "\"'":
            string, at = _string(text, at)
            out.append(string)
            continue
        if letter.isalpha():
            start = at
            while at < len(text) and text[at].isalpha():
                at += 1
            out.append(_WORDS.get(text[start:at], text[start:at]))
            continue
        at += 1
        if letter in "{[":
            ends.append("}" if letter == "{" else "]")
        elif letter in "}]":
            _drop_comma(out)
            if not ends or ends[-1] != letter:
                continue  # a bracket too many
            ends.pop()
        out.append(letter)
        if not ends and letter in "}]":
            break
    _drop_comma(out)
    return "".join([*out, *reversed(ends)]), text[at:]


def _string(text: str, at: int) -> tuple[str, int]:
    """The string that begins at `at`, as JSON, and where it ends."""
    quote, out, at = text[at], [], at + 1
    while at < len(text) and text[at] != quote:
        letter = text[at]
        if letter == "\\" and at + 1 < len(text):
            out.append("'" if text[at + 1] == "'" else text[at : at + 2])
            at += 1
        elif letter != "\\":
            out.append({'"': '\\"', "\n": "\\n", "\t": "\\t"}.get(letter, letter))
        at += 1
    return f'"{"".join(out)}"', at + 1


def _drop_comma(out: list[str]) -> None:
    end = next((n for n in range(len(out) - 1, -1, -1) if out[n].strip()), -1)
    if end >= 0 and out[end] == ",":
        del out[end]
