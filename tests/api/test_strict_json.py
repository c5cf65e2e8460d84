"""What JSON may look like, counted before it is read; nobody can make the reading expensive."""

import json
from typing import Any

import pytest
from pydantic import BaseModel

from edgechat.api.anthropic import wire as anthropic
from edgechat.api.ollama import wire as ollama
from edgechat.api.openai.completions import CompletionRequest
from edgechat.api.openai.embeddings import EmbeddingRequest
from edgechat.api.openai.wire import ChatRequest
from edgechat.api.responses import wire as responses
from edgechat.api.strict_json import DEEPEST, MOST_GROUPS, MOST_NAMES, check_shape, strict_json


def nested(levels: int, opens: str = "[", closes: str = "]") -> bytes:
    return (opens * levels + closes * levels).encode()


def test_so_deep_and_no_deeper() -> None:
    strict_json(nested(DEEPEST))
    strict_json(nested(DEEPEST // 2, '[{"a":', "}]").replace(b":}", b":1}"))
    for deep in (nested(DEEPEST + 1), nested(DEEPEST, '{"a":', "}").replace(b":}", b":[1]}"), nested(1_000_000)):
        with pytest.raises(ValueError, match=r"nested deeper than 64 levels|more than 10000"):
            strict_json(deep)


def test_brackets_and_quotes_in_text_do_not_count() -> None:
    text = "[" * 100 + '{"' * 30_000 + "\\" * 7 + '"' + ", " * 600_000
    for value in (text, [text, text], {text: [text]}):
        assert strict_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"[" + b"[]," * MOST_GROUPS + b"[]]", "10000 objects and lists"),
        (b"[" + b'"",' * 300_000 + b'""]', "200000 strings"),
        (b"[" + b"1," * 600_000 + b"1]", "500000 values"),
        (json.dumps([{str(name): 0 for name in range(4_000)}] * 15).encode(), "50000 names"),
        (json.dumps({str(name): 0 for name in range(MOST_NAMES + 1)}).encode(), "4096 names"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
    ],
)
def test_more_than_anybody_needs_is_refused(body: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        strict_json(body)


@pytest.mark.parametrize("broken", [b"]", b"[", b'"', b'"\\', b"", b"}{", b'[",]', b"\xff"])
def test_what_is_no_json_is_left_to_the_parser(broken: bytes) -> None:
    check_shape(broken)
    with pytest.raises(ValueError):
        strict_json(broken)


BODIES = (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    anthropic.MessagesRequest,
    ollama.ChatRequest,
    ollama.GenerateRequest,
    responses.ResponsesRequest,
)


@pytest.mark.parametrize("body", BODIES)
def test_every_list_of_a_body_stops_at_its_first_complaint(body: type[BaseModel]) -> None:
    """A complaint takes six microseconds, and a list may have half a million bad members."""
    slow = [line for line in _lists(body.__pydantic_core_schema__) if not line[1]]
    assert slow == []


AS_TOLD = "json_schema_input_schema"  # what a body's description says, not what checks it


def _lists(schema: Any) -> list[tuple[str, bool]]:
    """Every list in a schema of pydantic's core: what it is of, and whether it is bounded or fails fast."""
    if isinstance(schema, dict):
        found = [one for name, value in schema.items() if name != AS_TOLD for one in _lists(value)]
        if schema.get("type") == "list":
            items = schema.get("items_schema", {}).get("type", "any")
            found.append((items, items == "any" or schema.get("fail_fast") is True))
        return found
    return [one for value in schema for one in _lists(value)] if isinstance(schema, list | tuple) else []
