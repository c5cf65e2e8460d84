"""openapi.json says what the server does: its examples are sent to it, and every route is in it."""

import json
from typing import Any

import httpx
import jsonschema
import pytest

from edgechat.api.anthropic.errors import ANTHROPIC
from edgechat.api.app import DIALECTS
from edgechat.api.errors import OPENAI, Dialect
from edgechat.api.ollama.errors import OLLAMA
from edgechat.api.openai.completions import CompletionRequest
from edgechat.api.openapi import AWAY, REFUSED

EXAMPLES = {
    (method.lower(), route.path): route.facts.example
    for dialect in DIALECTS
    for route in dialect.router.api.routes
    for method in route.methods
    if route.facts.example
}
STREAMED = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/api/chat", "/api/generate")


@pytest.fixture(scope="module")
def document(echo: str) -> Any:
    return httpx.get(f"{echo}/openapi.json").json()


def keys(value: Any, to: int = 2) -> Any:
    """The names in `value`, `to` levels deep."""
    if isinstance(value, list):
        return [keys(one, to) for one in value[:1]]
    return {name: keys(one, to - 1) for name, one in value.items()} if isinstance(value, dict) and to else None


OLLAMAS = ["chat", "generate", "tags", "show", "ps", "version", "embed", "embeddings", "pull", "delete"]
BYTES = {"/api/attachments": b"\x89PNG\r\n\x1a\n"}
OF_ANOTHER_MODEL = ("/detokenize", "/v1/embeddings", "/api/embed", "/api/embeddings")


@pytest.mark.parametrize(("method", "path"), [place for place in EXAMPLES if place[1] not in OF_ANOTHER_MODEL])
def test_every_example_is_answered_as_it_says(client: httpx.Client, document: Any, method: str, path: str) -> None:
    operation = document["paths"][path][method]
    request = EXAMPLES[method, path].request
    content = operation["responses"]["200"]["content"]
    streams = {"stream": False} if path in STREAMED else {}
    if path in BYTES:
        answer = client.request(method, path, content=BYTES[path], headers={"Content-Type": "application/octet-stream"})
    else:
        answer = client.request(method, path, json=None if request is None else request | streams)
    assert answer.status_code == 200
    assert keys(answer.json()) == keys(content["application/json"]["example"])
    jsonschema.validate(answer.json(), content["application/json"]["schema"])
    if path in STREAMED:
        (kind,) = set(content) - {"application/json"}
        streamed = client.post(path, json=(request or {}) | {"stream": True})
        assert streamed.headers["content-type"].startswith(kind)
        assert said(streamed.text)[-1] == said(content[kind]["example"])[-1]


MORE = [(path, name) for (_, path), example in EXAMPLES.items() for name in example.more]


@pytest.mark.parametrize(("path", "name"), MORE)
def test_every_further_example_is_in_the_document_and_is_taken(
    client: httpx.Client, document: Any, path: str, name: str
) -> None:
    examples = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert client.post(path, json=examples[name]["value"]).status_code == 200


def said(stream: str) -> list[Any]:
    """The names in each event of a stream."""
    lines = [line.removeprefix("data: ") for line in stream.splitlines() if line.startswith(("data: ", "{"))]
    return [line if line == "[DONE]" else keys(json.loads(line)) for line in lines]


def dialect_at(path: str) -> Dialect:
    if path.startswith("/v1/messages"):
        return ANTHROPIC
    return OLLAMA if path.removeprefix("/api/") in OLLAMAS else OPENAI


def test_every_route_tells_how_it_refuses_and_none_says_422(document: Any) -> None:
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert "422" not in operation["responses"]
            for status, problem in (("4XX", REFUSED), ("5XX", AWAY)):
                told = operation["responses"][status]["content"]["application/json"]["example"]
                assert told == dialect_at(path).shape(problem)
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_the_schemas_accept_what_is_accepted_and_refuse_the_rest(document: Any) -> None:
    schema = document["components"]["schemas"]["CompletionRequest"]
    properties = schema["properties"]
    assert properties["best_of"]["enum"] == [1, None]
    assert schema["additionalProperties"] is True  # and told: ignored.py
    assert set(properties) == CompletionRequest.known()
    limits = next(option for option in properties["temperature"]["anyOf"] if option["type"] == "number")
    assert (limits["minimum"], limits["maximum"]) == (0, 2)
