"""Every number that a body can hold, at every value that numbers go wrong at: honoured or a 400, never a 5xx."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from edgechat.api.anthropic.wire import MessagesRequest
from edgechat.api.ollama import wire as ollama
from edgechat.api.openai.completions import CompletionRequest
from edgechat.api.openai.wire import ChatRequest
from edgechat.api.responses.wire import ResponsesRequest

CHAT: dict[str, Any] = {"model": "", "messages": [{"role": "user", "content": "x"}]}
BODIES: dict[str, tuple[type[BaseModel], dict[str, Any]]] = {
    "/v1/chat/completions": (ChatRequest, CHAT | {"max_tokens": 2}),
    "/v1/completions": (CompletionRequest, {"prompt": "x", "max_tokens": 2}),
    "/v1/messages": (MessagesRequest, CHAT | {"max_tokens": 2}),
    "/v1/responses": (ResponsesRequest, {"input": "x", "max_output_tokens": 2}),
    "/api/chat": (ollama.ChatRequest, CHAT | {"stream": False, "options": {"num_predict": 2}}),
    "/api/generate": (ollama.GenerateRequest, {"model": "", "prompt": "x", "options": {"num_predict": 2}}),
}
VALUES = (b"-1", b"0", b"1", b"1.5", b"2147483648", b"9223372036854775808", b"1e308", b"-1e308", b"1e-320", b"-0.0")
WRONG = (b'"1"', b"true", b"[]", b"{}", b"NaN", b"Infinity", b"1e999")
OTHER_ANSWERS = ("grammar", "best_of", "ignore_eos", "min_tokens", "chat_template")
THE_SAME_ANSWER = ("n_discard", "n_keep", "id_slot", "cache_prompt", "n_probs", "timings_per_token")


def numbers(schema: dict[str, Any], whole: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The places of numbers in a schema's properties, a level deep."""
    for name, field in schema.get("properties", {}).items():
        kinds = [field, *field.get("anyOf", [])]
        if any(kind.get("type") in ("integer", "number") for kind in kinds):
            yield (*path, name)
        for kind in kinds:
            if not path and "$ref" in kind:
                yield from numbers(whole["$defs"][kind["$ref"].rpartition("/")[2]], whole, (name,))


def with_value(body: dict[str, Any], place: tuple[str, ...], value: bytes) -> bytes:
    """`body` as JSON, with `value` as it stands at `place`."""
    first, *rest = place
    inner = {**body.get(first, {}), rest[0]: "HERE"} if rest else "HERE"
    return httpx.Request("POST", "http://x", json={**body, first: inner}).content.replace(b'"HERE"', value)


@pytest.mark.parametrize("path", BODIES)
def test_every_number_at_every_value(client: httpx.Client, path: str) -> None:
    model, body = BODIES[path]
    schema = model.model_json_schema()
    places, tried = sorted({*numbers(schema, schema)} - {("keep_alive",)}), 0  # that is a time, and has its own test
    assert places
    for place in places:
        for value in (*VALUES, *WRONG):
            raw = with_value(body, place, value)
            answer = client.post(path, content=raw, headers={"Content-Type": "application/json"}, timeout=30)
            allowed = (400,) if value in WRONG else (200, 400)
            assert answer.status_code in allowed, (place, value, answer.text)
            tried += 1
    print(f"{path}: {tried} numbers in {len(places)} places")


@pytest.mark.parametrize("name", OTHER_ANSWERS)
def test_what_other_engines_listen_to_is_refused_by_name(client: httpx.Client, name: str) -> None:
    refused = client.post("/v1/chat/completions", json=CHAT | {name: -1})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, name)


@pytest.mark.parametrize("name", THE_SAME_ANSWER)
def test_what_other_engines_keep_house_by_is_told_as_ignored(client: httpx.Client, name: str) -> None:
    answer = client.post("/v1/chat/completions", json=CHAT | {name: -1})
    assert answer.json()["edgechat"]["ignored"] == [name]
