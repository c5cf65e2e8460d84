"""A real embedding model behind /v1/embeddings, by the official client.

The likenesses are those that the model's own library prints for it: the first example of Sentence Transformers' manual.
"""

from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.api.conftest import serving

pytestmark = pytest.mark.model

TEXTS = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
LIKENESSES = {(0, 1): 0.6660, (0, 2): 0.1046, (1, 2): 0.1411}


@pytest.fixture(scope="module")
def base(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(minilm, tmp_path_factory.mktemp("minilm"), engine="llama_cpp") as base:
        yield base


@pytest.fixture
def official(base: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0) as client:
        yield client


def likeness(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_vectors_are_the_models(official: openai.OpenAI) -> None:
    told = official.embeddings.create(model="", input=TEXTS)  # this client asks for base64
    vectors = [one.embedding for one in told.data]
    for (one, other), known in LIKENESSES.items():
        assert likeness(vectors[one], vectors[other]) == pytest.approx(known, abs=5e-4)
    plain = official.embeddings.create(model="", input=TEXTS[0], encoding_format="float", dimensions=384)
    assert plain.data[0].embedding == pytest.approx(vectors[0], abs=1e-6)
    assert told.usage.prompt_tokens > plain.usage.prompt_tokens == plain.usage.total_tokens


def test_tokens_are_texts_as_they_stand(base: str, official: openai.OpenAI) -> None:
    tokens = httpx.post(f"{base}/tokenize", json={"content": TEXTS[0]}).json()["tokens"]
    around = [101, *tokens, 102]  # what the model's tokeniser puts around a text
    told = official.embeddings.create(model="", input=[around])
    text = official.embeddings.create(model="", input=TEXTS[0])
    assert told.data[0].embedding == pytest.approx(text.data[0].embedding, abs=1e-6)
    assert told.usage == text.usage


@pytest.mark.parametrize(
    ("asked", "param", "code"),
    [
        ({"input": "word " * 600}, "input", "context_length_exceeded"),
        ({"input": TEXTS, "dimensions": 128}, "dimensions", "invalid_request"),
        ({"input": [[40_000]]}, "input", "invalid_request"),
        ({"input": [""]}, "input.0", "invalid_request"),
    ],
)
def test_what_it_cannot_do_is_a_400(base: str, asked: dict[str, object], param: str, code: str) -> None:
    refused = httpx.post(f"{base}/v1/embeddings", json=asked)
    assert refused.status_code == 400
    assert (refused.json()["error"]["param"], refused.json()["error"]["code"]) == (param, code)


def test_it_gives_no_answers(base: str) -> None:
    refused = httpx.post(f"{base}/v1/chat/completions", json={"messages": [{"role": "user", "content": "x"}]})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "model")
