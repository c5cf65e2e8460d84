import base64
import math
import struct
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from edgechat.keys import Keys
from edgechat.letters import Load
from edgechat.models import probe
from edgechat.models.supervisor import Worker
from edgechat.types import Limits
from tests.api.conftest import serving

ROUTE = "/v1/embeddings"


def test_texts_become_vectors_of_length_one(embedder: httpx.Client) -> None:
    answer = embedder.post(ROUTE, json={"input": ["abc", "cab", "你好"]}).json()
    first, second, third = [one["embedding"] for one in answer["data"]]
    assert len(first) == 8
    assert first == second != third
    assert math.hypot(*third) == pytest.approx(1)
    assert answer["usage"] == {"prompt_tokens": 12, "total_tokens": 12}
    assert [one["index"] for one in answer["data"]] == [0, 1, 2]


def test_base64_holds_the_same_numbers(embedder: httpx.Client) -> None:
    plain = embedder.post(ROUTE, json={"input": "abc", "encoding_format": "float"}).json()["data"][0]["embedding"]
    packed = embedder.post(ROUTE, json={"input": "abc", "encoding_format": "base64"}).json()["data"][0]["embedding"]
    assert list(struct.unpack("<8f", base64.b64decode(packed))) == plain


def test_the_models_own_dimensions_may_be_asked_for(embedder: httpx.Client) -> None:
    asked = {"input": "abc", "dimensions": 8}
    assert embedder.post(ROUTE, json=asked).json()["data"] == embedder.post(ROUTE, json={"input": "abc"}).json()["data"]


def test_tokens_are_texts_too(embedder: httpx.Client) -> None:
    text, tokens, listed = [
        embedder.post(ROUTE, json={"input": one}).json()["data"] for one in ("ab", [97, 98], [[97, 98]])
    ]
    assert text == tokens == listed


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"dimensions": 4}, "dimensions"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": 8.0}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"dimension": 1}, "dimension"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": [259]}, "input"),
        ({"input": ["x"] * 2049}, "input"),
        ({"input": "x" * 65}, "input"),
    ],
)
def test_what_is_not_honoured_is_refused_by_name(embedder: httpx.Client, more: dict[str, Any], param: str) -> None:
    answer = embedder.post(ROUTE, json={"input": "x"} | more)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].split(".")[0] == param


def test_a_model_that_answers_gives_no_vectors(client: httpx.Client) -> None:
    refused = client.post(ROUTE, json={"input": "x"})
    assert refused.status_code == 400
    assert "no pooling" in refused.json()["error"]["message"]


def test_a_model_that_gives_vectors_does_not_answer(embedder: httpx.Client) -> None:
    for path, body in (
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "hi"}]}),
    ):
        refused = embedder.post(path, json=body)
        assert refused.status_code == 400
        assert "gives embeddings" in refused.json()["error"]["message"]
    assert embedder.post("/tokenize", json={"content": "ab"}).json()["tokens"] == [97, 98]


def test_the_official_client_works(embedder: httpx.Client) -> None:
    with openai.OpenAI(base_url=f"{embedder.base_url}/v1", api_key="none", max_retries=0) as official:
        answer = official.embeddings.create(model="", input=["abc", "xyz"])  # asks for base64 by itself
        assert len(answer.data[1].embedding) == 8


def test_vectors_are_within_the_keys_limits_and_on_its_bill(tmp_path: Path) -> None:
    (tmp_path / "fake.json").write_text('{"dimensions": 8, "context": 64}')
    keys = Keys(tmp_path / "home" / "keys.json")
    few = keys.add("few", False, (), Limits(tokens_per_day=3))[1]
    other = keys.add("other", False, ("something-else",), Limits())[1]
    operator = keys.add("operator", True, (), Limits())[1]
    with serving(tmp_path / "fake.json", tmp_path / "home") as base:

        def ask(key: str) -> httpx.Response:
            return httpx.post(f"{base}{ROUTE}", json={"input": ["abc", "d"]}, headers={"x-api-key": key}, timeout=10)

        assert [ask(few).status_code for _ in range(2)] == [200, 429]
        assert ask(other).status_code == 404
        counted = httpx.get(f"{base}/metrics", headers={"x-api-key": operator}).text
    assert "prompt_tokens_total 4.0" in counted
    assert "requests_waiting 0.0" in counted


async def test_the_probe_asks_for_what_the_model_gives(tmp_path: Path) -> None:
    (tmp_path / "fake.json").write_text('{"dimensions": 8}')
    worker = Worker(Load(engine="fake", path=str(tmp_path / "fake.json"), context=0, threads=1))
    await worker.start()
    try:
        await probe.answers(worker)
    finally:
        await worker.stop()
