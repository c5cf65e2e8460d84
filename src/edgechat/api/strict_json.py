"""Strict JSON parsing: what bytes from strangers may look like is decided before anything is built of them.

    bytes ─► shape (depth, counts) ─► msgspec (UTF-8, no NaN, no lone surrogate) ─► names (each once, not too many)

A body of 4 MB can hold a million lists. Building, checking and complaining about them takes seconds in which nobody
else is served, so their number is counted first, at the speed of a memory copy.
"""

import json
from codecs import BOM_UTF8
from itertools import accumulate
from typing import Any

import msgspec

DEEPEST = 64  # objects and lists within each other
MOST_GROUPS = 10_000  # objects and lists in all
STRINGS_EACH = 20  # strings of an object or list, on average
MOST_VALUES = 500_000  # members in all: prompts and texts may come as lists of tokens
MOST_NAMES = 4_096  # of one object
NAMES_EACH = 5  # of an object or list, on average
_STEP = {ord(bracket): step for bracket, step in {"[": 1, "{": 1, "]": -1, "}": -1}.items()}
_NO_BRACKET = bytes(set(range(256)) - set(_STEP))


def strict_json(body: bytes, most_groups: int = MOST_GROUPS) -> Any:
    """What `body` says. Raises ValueError."""
    if body.startswith(BOM_UTF8):
        raise ValueError("it begins with a byte order mark: save it as UTF-8 without one")
    check_shape(body, most_groups)
    value = msgspec.json.decode(body)  # knows everything but names that come twice
    json.loads(body, object_pairs_hook=_names)
    return value


def check_shape(body: bytes, most_groups: int = MOST_GROUPS) -> None:
    """Raise ValueError for what is too deep or too much. What is no JSON at all may pass."""
    bare = body.replace(rb"\\", b"").replace(rb"\"", b"")
    if bare.count(b'"') > 2 * STRINGS_EACH * most_groups:
        raise ValueError(f"there are more than {STRINGS_EACH * most_groups} strings in it")
    outside = b"".join(bare.split(b'"')[::2])  # of strings
    brackets = outside.translate(None, _NO_BRACKET)
    if len(brackets) > 2 * most_groups:
        raise ValueError(f"there are more than {most_groups} objects and lists in it")
    if outside.count(b":") > NAMES_EACH * most_groups:
        raise ValueError(f"there are more than {NAMES_EACH * most_groups} names in it")
    if outside.count(b",") > MOST_VALUES:
        raise ValueError(f"there are more than {MOST_VALUES} values in it")
    if max(accumulate(map(_STEP.__getitem__, brackets)), default=0) > DEEPEST:
        raise ValueError(f"it is nested deeper than {DEEPEST} levels")


def _names(pairs: list[tuple[str, Any]]) -> None:
    if len(pairs) > MOST_NAMES:
        raise ValueError(f"an object has more than {MOST_NAMES} names")
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has the name {twice!r} twice")
