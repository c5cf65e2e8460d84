"""Every parameter that the official clients know has a decision here, and every number its range.

What is in a client's own types but in none of our tables would be told as ignored, whatever it asks for: somebody has
to decide.
"""

from collections.abc import Iterator
from typing import Any, get_type_hints

import httpx
import ollama._types as ollama
import pytest
from anthropic.types import message_count_tokens_params, message_create_params
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import response_create_params

from edgechat.api.anthropic.wire import MessagesRequest, Prompt
from edgechat.api.fields import Body
from edgechat.api.ollama.listing import DeleteRequest, PullRequest
from edgechat.api.ollama.vectors import EmbedRequest, OneRequest
from edgechat.api.ollama.wire import ChatRequest as OllamaChatRequest
from edgechat.api.ollama.wire import GenerateRequest
from edgechat.api.openai.completions import CompletionRequest
from edgechat.api.openai.embeddings import EmbeddingRequest
from edgechat.api.openai.wire import ChatRequest
from edgechat.api.responses.wire import ResponsesRequest

TURNS = [{"role": "user", "content": "hello"}]
ROUTES: dict[str, tuple[type[Body], dict[str, Any]]] = {
    "/v1/chat/completions": (ChatRequest, {"messages": TURNS}),
    "/v1/completions": (CompletionRequest, {"prompt": "hello"}),
    "/v1/responses": (ResponsesRequest, {"input": "hello"}),
    "/v1/messages": (MessagesRequest, {"messages": TURNS}),
    "/v1/messages/count_tokens": (Prompt, {"messages": TURNS}),
    "/api/chat": (OllamaChatRequest, {"messages": TURNS, "stream": False}),
    "/api/generate": (GenerateRequest, {"prompt": "hello", "stream": False}),
}
PICTURES = {"width", "height", "steps"}  # of Ollama's models that paint
KNOWN: list[tuple[type[Body], set[str]]] = [
    (ChatRequest, set(get_type_hints(chat_create_params.CompletionCreateParamsStreaming))),
    (CompletionRequest, set(get_type_hints(completion_create_params.CompletionCreateParamsStreaming))),
    (ResponsesRequest, set(get_type_hints(response_create_params.ResponseCreateParamsStreaming))),
    (EmbeddingRequest, set(get_type_hints(embedding_create_params.EmbeddingCreateParams))),
    (MessagesRequest, set(get_type_hints(message_create_params.MessageCreateParamsStreaming))),
    (Prompt, set(get_type_hints(message_count_tokens_params.MessageCountTokensParams))),
    (OllamaChatRequest, set(ollama.ChatRequest.model_fields)),
    (GenerateRequest, set(ollama.GenerateRequest.model_fields) - PICTURES),
    (EmbedRequest, set(ollama.EmbedRequest.model_fields)),
    (OneRequest, set(ollama.EmbeddingsRequest.model_fields)),
    (PullRequest, set(ollama.PullRequest.model_fields)),
    (DeleteRequest, set(ollama.DeleteRequest.model_fields)),
]
# What a number needs beside it to be asked for at all.
COMPANIONS: dict[tuple[str, str], dict[str, Any]] = {
    ("/v1/chat/completions", "top_logprobs"): {"logprobs": True},
    ("/api/chat", "top_logprobs"): {"logprobs": True},
    ("/api/generate", "top_logprobs"): {"logprobs": True},
    ("/v1/responses", "top_logprobs"): {"include": ["message.output_text.logprobs"]},
}


@pytest.mark.parametrize(("body", "known"), KNOWN, ids=lambda value: getattr(value, "__name__", ""))
def test_every_parameter_that_a_client_knows_has_a_decision(body: type[Body], known: set[str]) -> None:
    assert known
    assert not known - set(body.model_fields) - set(body.neutral) - set(body.inert)


@pytest.mark.parametrize(
    ("path", "name"),
    [(path, name) for path, (body, _) in ROUTES.items() for name in sorted(set(body.neutral) - set(body.inert))],
)
def test_what_is_neutral_is_accepted_and_what_is_not_is_refused_by_name(
    client: httpx.Client, path: str, name: str
) -> None:
    body, asked = ROUTES[path]
    for value in (None, *body.neutral[name]):
        assert client.post(path, json=asked | {name: value}).status_code == 200, value
    refused = client.post(path, json=asked | {name: {"asks": "for something"}})
    assert (refused.status_code, param_of(refused)) == (400, name)


@pytest.mark.parametrize(
    ("path", "name"), [(path, name) for path, (body, _) in ROUTES.items() for name in sorted(body.inert)]
)
def test_what_is_inert_changes_nothing_and_is_told(client: httpx.Client, path: str, name: str) -> None:
    _, asked = ROUTES[path]
    answer = client.post(path, json=asked | {name: "x"})
    assert (answer.status_code, answer.headers["X-Edgechat-Ignored"]) == (200, name)
    assert answer.json()["edgechat"]["ignored"] == [name]


def test_every_number_is_taken_to_its_bounds_and_not_beyond(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    seen = set()
    for path, (_, asked) in ROUTES.items():
        for name, kind in numbers_of(document, path):
            seen.add(name)
            more = asked | COMPANIONS.get((path, name), {})
            for value in inside(kind):
                answer = client.post(path, json=more | {name: value})
                assert answer.status_code == 200, (path, name, value, answer.text)
            wrong: list[Any] = [*outside(kind), "1", True, [1]]
            for value in wrong:
                refused = client.post(path, json=more | {name: value})
                assert refused.status_code == 400, (path, name, value)
                assert param_of(refused).partition(".")[0] == name
    assert seen >= {"temperature", "top_p", "top_k", "n", "max_tokens", "max_output_tokens", "seed", "top_logprobs"}


def numbers_of(document: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The parameters of a route that are nothing but numbers."""
    place = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    for name, kind in document["components"]["schemas"][place.rpartition("/")[2]]["properties"].items():
        for option in kind.get("anyOf", [kind]):
            if option.get("type") in ("integer", "number") and {"minimum", "exclusiveMinimum"} & set(option):
                yield name, option


def inside(kind: dict[str, Any]) -> list[float]:
    """The outermost values that are allowed."""
    number, step = of_kind(kind)
    least = number(kind["minimum"]) if "minimum" in kind else number(kind["exclusiveMinimum"]) + step
    most = number(kind["maximum"]) if "maximum" in kind else number(kind["exclusiveMaximum"]) - step
    return [least, most]


def outside(kind: dict[str, Any]) -> list[float]:
    """The values next to them."""
    number, step = of_kind(kind)
    least = number(kind["minimum"]) - step if "minimum" in kind else number(kind["exclusiveMinimum"])
    most = number(kind["maximum"]) + step if "maximum" in kind else number(kind["exclusiveMaximum"])
    return [least, most, 1e300]


def of_kind(kind: dict[str, Any]) -> tuple[type[float], float]:
    """How a number of this kind is written, and a small step."""
    return (int, 1) if kind["type"] == "integer" else (float, 0.001)


def param_of(refused: httpx.Response) -> str:
    """What a refusal names, in whichever dialect."""
    body = refused.json()
    param: str = body["param"] if isinstance(body["error"], str) else body["error"]["param"]
    return param
