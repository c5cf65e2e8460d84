import json
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from edgechat.api.openai.completions import CompletionRequest, Scores, piece_text
from edgechat.types import Sampling, Scored
from tests.api.conftest import serving
from tests.conftest import FakeModel

ROUTE = "/v1/completions"


def events(answer: httpx.Response) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def test_a_text_is_continued(client: httpx.Client) -> None:
    answer = client.post(ROUTE, json={"prompt": "hi", "max_tokens": 64}).json()
    assert answer["object"] == "text_completion"
    assert answer["choices"][0]["text"]
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["prompt_tokens"] == 2  # no template around it
    assert answer["edgechat"]["stop_reason"] == "eos"


def test_a_list_of_one_and_tokens_are_prompts_too(client: httpx.Client) -> None:
    whole, listed, tokens = [
        client.post(ROUTE, json={"prompt": prompt}).json() for prompt in ("hi", ["hi"], [ord("h"), ord("i")])
    ]
    assert whole["choices"] == listed["choices"] == tokens["choices"]
    assert whole["usage"]["completion_tokens"] <= 16


def test_a_stream_is_the_whole_answer_in_parts(client: httpx.Client) -> None:
    whole = client.post(ROUTE, json={"prompt": "你好", "max_tokens": 64}).json()
    more = {"stream": True, "stream_options": {"include_usage": True}, "max_tokens": 64}
    *chunks, last, end = events(client.post(ROUTE, json={"prompt": "你好", **more}))
    assert end == "[DONE]"
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole["choices"][0]["text"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
    assert last["edgechat"]["stop_reason"] == "eos"


def test_several_prompts_are_answered_together(client: httpx.Client) -> None:
    asked = {"prompt": ["one", "two"], "n": 2, "max_tokens": 64, "echo": True}
    alone = {word: client.post(ROUTE, json={"prompt": word, "max_tokens": 64}).json() for word in ("one", "two")}
    texts = [word + alone[word]["choices"][0]["text"] for word in ("one", "one", "two", "two")]
    whole = client.post(ROUTE, json=asked).json()
    assert [(one["index"], one["text"]) for one in whole["choices"]] == list(enumerate(texts))
    assert whole["usage"]["prompt_tokens"] == 6  # each prompt once
    assert whole["usage"]["completion_tokens"] == 2 * sum(one["usage"]["completion_tokens"] for one in alone.values())
    assert len(whole["edgechat"]["choices"]) == 4
    *chunks, last, end = events(
        client.post(ROUTE, json=asked | {"stream": True, "stream_options": {"include_usage": True}})
    )
    told = [one for chunk in chunks for one in chunk["choices"]]
    assert ["".join(one["text"] for one in told if one["index"] == at) for at in range(4)] == texts
    assert [one["finish_reason"] for one in told if one["finish_reason"]] == ["stop"] * 4
    assert (last["choices"], end) == ([], "[DONE]")
    assert last["usage"]["total_tokens"] == whole["usage"]["total_tokens"]


def test_tokens_are_echoed_as_their_text(client: httpx.Client) -> None:
    asked = {"prompt": list(b"one"), "echo": True, "max_tokens": 64}
    whole = client.post(ROUTE, json=asked).json()["choices"][0]["text"]
    assert whole.startswith("one")
    *chunks, _ = events(client.post(ROUTE, json=asked | {"stream": True}))
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"max_tokenss": 1}, "max_tokenss"),
        ({"n": 9}, "n"),
        ({"n": 5, "prompt": ["a", "b"]}, "n"),
        ({"echo": True, "logprobs": 1}, "echo"),
        ({"echo": 1}, "echo"),
        ({"best_of": 2}, "best_of"),
        ({"suffix": "end"}, "suffix"),
        ({"logprobs": 6}, "logprobs"),
        ({"logit_bias": {"259": 1}}, "logit_bias"),
        ({"prompt": [259]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": ["a"] * 9}, "prompt"),
        ({"prompt": [[1], []]}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_what_is_not_honoured_is_refused_by_name(client: httpx.Client, more: dict[str, Any], param: str) -> None:
    answer = client.post(ROUTE, json={"prompt": "x"} | more)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].split(".")[0] == param


def test_a_failure_in_a_stream_is_an_error_and_no_false_end(fake_model: FakeModel, tmp_path: Path) -> None:
    with serving(fake_model(fail_at=3), tmp_path / "home") as base:
        answer = httpx.post(f"{base}{ROUTE}", json={"prompt": "x", "stream": True}, timeout=10)
    *chunks, last = events(answer)
    assert last["error"]["code"] == "engine_failed"
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks)


def test_log_probabilities_are_asked_for_and_told_in_columns() -> None:
    body = CompletionRequest.model_validate({"prompt": "x", "logprobs": 2})
    assert body.generations(Sampling())[0].logprobs == 2
    scored = [Scored(1, b"\xe4\xbd", -1.0), Scored(2, b"\xa0", -0.5, (Scored(3, b"!", -0.1),)), Scored(4, b"ab", -2.0)]
    table = Scores().table(scored)
    assert table["tokens"] == [r"bytes:\xe4\xbd", r"bytes:\xa0", "ab"]
    assert table["token_logprobs"] == [-1.0, -0.5, -2.0]
    assert table["top_logprobs"] == [{}, {"!": -0.1}, {}]
    assert table["text_offset"] == [0, 0, 1]


def test_a_piece_of_text_is_text_where_it_can_be() -> None:
    assert piece_text("é".encode()) == "é"
    assert piece_text(b"\xff") == r"bytes:\xff"


def test_the_official_client_works(client: httpx.Client) -> None:
    with openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="none", max_retries=0) as official:
        whole = official.completions.create(model="", prompt="hi", max_tokens=64)
        stream = official.completions.create(model="", prompt="hi", max_tokens=64, stream=True)
        assert "".join(chunk.choices[0].text for chunk in stream) == whole.choices[0].text
