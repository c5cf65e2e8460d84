"""Ollama's embeddings, in both of its shapes."""

import math
from contextlib import closing
from typing import Any

import httpx
import ollama
import pytest


def test_texts_become_the_vectors_that_openais_route_gives(embedder: httpx.Client) -> None:
    answer = embedder.post("/api/embed", json={"input": ["abc", "你好"], "keep_alive": "5m0s"}).json()
    same = embedder.post("/v1/embeddings", json={"input": ["abc", "你好"]}).json()
    assert answer["embeddings"] == [one["embedding"] for one in same["data"]]
    assert math.hypot(*answer["embeddings"][0]) == pytest.approx(1)
    assert answer["prompt_eval_count"] == same["usage"]["prompt_tokens"]
    one = embedder.post("/api/embed", json={"input": "abc"}).json()
    assert one["embeddings"] == answer["embeddings"][:1]
    assert embedder.post("/api/embeddings", json={"prompt": "abc"}).json()["embedding"] == answer["embeddings"][0]


def test_nothing_asks_for_nothing(embedder: httpx.Client) -> None:
    assert embedder.post("/api/embed", json={"input": []}).json()["embeddings"] == []
    assert embedder.post("/api/embeddings", json={}).json() == {"embedding": []}


def test_what_has_no_effect_is_told(embedder: httpx.Client) -> None:
    answer = embedder.post("/api/embed", json={"input": "abc", "truncate": True, "options": {"num_ctx": 9}})
    assert answer.json()["edgechat"]["ignored"] == ["truncate", "options"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/embed", {}),
        ("/api/embed", {"input": ""}),
        ("/api/embed", {"input": [""]}),
        ("/api/embed", {"input": "x" * 500, "truncate": True}),
        ("/api/embed", {"input": "x", "dimensions": 4}),
        ("/api/embeddings", {"prompt": ["x"]}),
        ("/api/embeddings", {"prompt": "x" * 500}),
        ("/api/chat", {"messages": [{"role": "user", "content": "hi"}]}),
    ],
)
def test_what_cannot_be_is_refused_in_words(embedder: httpx.Client, path: str, body: Any) -> None:
    refused = embedder.post(path, json=body)
    assert (refused.status_code, type(refused.json()["error"])) == (400, str)


def test_a_model_that_answers_gives_none(client: httpx.Client) -> None:
    for path, body in (("/api/embed", {"input": "x"}), ("/api/embeddings", {"prompt": "x"})):
        refused = client.post(path, json=body)
        assert (refused.status_code, "gives no embeddings" in refused.json()["error"]) == (400, True)


def test_the_official_client_works(embedder: httpx.Client) -> None:
    with closing(ollama.Client(host=str(embedder.base_url))) as official:
        model = official.list().models[0].model
        assert model
        assert len(official.embed(model=model, input=["a", "b"]).embeddings) == 2
        assert len(official.embeddings(model=model, prompt="a").embedding) == 8
        assert official.show(model).capabilities == ["embedding"]
