"""What has no effect is accepted and told, in every dialect; slips, and wishes for more than an answer, are not."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import pytest

from edgechat.api.ignored import MOST
from tests.api.conftest import serving
from tests.conftest import FakeModel

HI = [{"role": "user", "content": "hi"}]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": HI},
    "/v1/completions": {"prompt": "hi"},
    "/v1/messages": {"messages": HI, "max_tokens": 50},
    "/v1/responses": {"input": "hi"},
    "/api/chat": {"messages": HI},
    "/api/generate": {"prompt": "hi"},
}
NEW = {"from_next_year": {"a": 1}, "ours": False, "nothing": None}


@pytest.fixture
def strict(fake_model: FakeModel, tmp_path: Path) -> Iterator[httpx.Client]:
    with serving(fake_model(), tmp_path / "home", strict=True) as base, httpx.Client(base_url=base) as client:
        yield client


def said(answer: httpx.Response) -> list[Any]:
    """Every JSON object of a stream."""
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines()]
    return [json.loads(line) for line in lines if line.startswith("{")]


@pytest.mark.parametrize("path", BODIES)
def test_a_member_that_nobody_knows_is_told_at_once_and_at_the_end(client: httpx.Client, path: str) -> None:
    whole = client.post(path, json=BODIES[path] | NEW | {"stream": False})
    assert whole.json()["edgechat"]["ignored"] == ["from_next_year", "ours"]
    assert whole.headers["X-Edgechat-Ignored"] == "from_next_year, ours"
    streamed = client.post(path, json=BODIES[path] | NEW | {"stream": True})
    assert streamed.headers["X-Edgechat-Ignored"] == "from_next_year, ours"
    first, *_ = said(streamed)
    begun = first.get("message") if path == "/v1/messages" else first.get("response") if "resp" in path else first
    assert begun["edgechat"] == {"ignored": ["from_next_year", "ours"]}
    told = [one for event in said(streamed) for one in (event, event.get("response")) if isinstance(one, dict)]
    assert [one["edgechat"] for one in told if "edgechat" in one][-1]["ignored"] == ["from_next_year", "ours"]


@pytest.mark.parametrize("path", BODIES)
def test_what_has_an_effect_is_not_told(client: httpx.Client, path: str) -> None:
    answer = client.post(path, json=BODIES[path] | {"stream": False})
    assert answer.json()["edgechat"]["ignored"] == []
    assert "X-Edgechat-Ignored" not in answer.headers


@pytest.mark.parametrize("path", BODIES)
def test_strict_refuses_what_has_no_effect(strict: httpx.Client, path: str) -> None:
    assert strict.post(path, json=BODIES[path] | {"stream": False}).status_code == 200
    refused = strict.post(path, json=BODIES[path] | NEW)
    assert (refused.status_code, "from_next_year" in refused.text) == (400, True)


@pytest.mark.parametrize(
    ("path", "more", "meant"),
    [
        ("/v1/chat/completions", {"max_tokenss": 5}, "max_tokens"),
        ("/v1/chat/completions", {"temprature": 0}, "temperature"),
        ("/v1/chat/completions", {"maxTokens": 5}, "max_tokens"),
        ("/v1/completions", {"stops": ["x"]}, "stop"),
        ("/v1/messages", {"stop_sequence": ["x"]}, "stop_sequences"),
        ("/v1/responses", {"max_output_token": 5}, "max_output_tokens"),
        ("/api/chat", {"options": {"num_predicts": 5}}, "num_predict"),
    ],
)
def test_a_slip_is_refused_with_the_name_that_was_meant(
    client: httpx.Client, path: str, more: dict[str, Any], meant: str
) -> None:
    refused = client.post(path, json=BODIES[path] | more)
    assert (refused.status_code, f"{meant} is." in refused.text) == (400, True)


@pytest.mark.parametrize(
    ("path", "more", "ignored"),
    [
        ("/v1/chat/completions", {"messages": [{**HI[0], "name": "planner"}]}, ["messages.0.name"]),
        ("/v1/chat/completions", {"reasoning_effort": "high"}, ["reasoning_effort"]),
        (
            "/v1/chat/completions",
            {"reasoning_effort": "medium", "chat_template_kwargs": {"x": 1}},
            ["chat_template_kwargs.x", "reasoning_effort"],
        ),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {}}]}] * 3},
            ["messages.0.content.0.cache_control"],
        ),
        ("/v1/messages", {"context_management": {"edits": []}}, ["context_management"]),
        ("/v1/messages", {"messages": [*HI, {"role": "system", "content": "Be brief."}]}, []),
        ("/v1/messages", {"output_config": {"effort": "high"}}, ["output_config.effort"]),
        ("/v1/responses", {"include": ["reasoning.encrypted_content"]}, ["include"]),
        (
            "/v1/responses",
            {"reasoning": {"effort": "low", "summary": "auto"}},
            ["reasoning.summary", "reasoning.effort"],
        ),
        ("/v1/responses", {"tools": [{"type": "web_search", "filters": {}}]}, ["tools.0.web_search"]),
        ("/v1/chat/completions", {"tools": [{"type": "custom", "custom": {"name": "x"}}]}, ["tools.0.custom"]),
        ("/v1/messages", {"tools": [{"type": "web_search_20250305", "name": "w"}]}, ["tools.0.web_search_20250305"]),
        ("/api/chat", {"tools": [{"type": "web_search"}]}, ["tools.0.web_search"]),
        ("/api/chat", {"options": {"num_ctx": 1 << 20, "num_thread": 3}}, ["options.num_ctx", "options.num_thread"]),
        ("/api/chat", {"options": {"repeat_last_n": 64, "seed": -1, "num_predict": -2}}, ["options.repeat_last_n"]),
        ("/api/chat", {"tool_choice": "auto", "temperature": 1}, ["tool_choice", "temperature"]),
        ("/v1/messages", {"seed": 4}, ["seed"]),  # OpenAI's, and no slip of `speed`
        ("/v1/chat/completions", {"store": True, "metadata": {"a": "b"}}, ["store", "metadata"]),
        ("/v1/chat/completions", {"store": False}, []),
        ("/v1/responses", {"response_format": {"type": "text"}}, []),
        (
            "/v1/messages",
            {
                "messages": [
                    *HI,
                    {
                        "role": "assistant",
                        "content": [
                            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}},
                            {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
                            {"type": "text", "text": "It rains."},
                        ],
                    },
                    *HI,
                ]
            },
            ["messages.1.content.0.server_tool_use", "messages.1.content.1.web_search_tool_result"],
        ),
        (
            "/v1/responses",
            {
                "input": [
                    *HI,
                    {"type": "web_search_call", "id": "ws", "status": "completed", "action": {"type": "search"}},
                    {"role": "assistant", "content": "It rains."},
                    *HI,
                ]
            },
            ["input.1.web_search_call"],
        ),
    ],
    ids=lambda value: json.dumps(value)[:50],
)
def test_what_cannot_change_the_answer_is_accepted_and_told_by_its_path(
    client: httpx.Client, path: str, more: dict[str, Any], ignored: list[str]
) -> None:
    answer = client.post(path, json=BODIES[path] | more | {"stream": False})
    assert answer.status_code == 200, answer.text
    assert answer.json()["edgechat"]["ignored"] == ignored


@pytest.mark.parametrize(
    ("path", "more", "instead"),
    [
        ("/v1/responses", {"response_format": {"type": "json_object"}}, "text.format"),
        ("/v1/messages", {"response_format": {"type": "json_object"}}, "output_config.format"),
        ("/api/chat", {"response_format": {"type": "json_object"}}, "format"),
        ("/v1/completions", {"response_format": {"type": "json_object"}}, "response_format"),
        ("/v1/chat/completions", {"functions": [{"name": "now"}]}, "tools"),
        (
            "/v1/chat/completions",
            {"messages": [*HI, {"role": "assistant", "content": None, "function_call": {"name": "now"}}]},
            "tool_calls",
        ),
    ],
    ids=lambda value: json.dumps(value)[:50],
)
def test_an_order_in_the_words_of_another_dialect_is_refused_with_this_ones(
    client: httpx.Client, path: str, more: dict[str, Any], instead: str
) -> None:
    refused = client.post(path, json=BODIES[path] | more)
    assert refused.status_code == 400
    assert instead in refused.text


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"response_format": {"type": "grammar"}}, "its type should be 'text', 'json_object', 'json_schema'"),
        ({"messages": [{"role": "user", "content": ["hi"]}]}, "a part of a message is an object with a type"),
    ],
)
def test_a_refusal_speaks_of_json_and_not_of_what_reads_it(
    client: httpx.Client, more: dict[str, Any], said: str
) -> None:
    refused = client.post("/v1/chat/completions", json=BODIES["/v1/chat/completions"] | more)
    assert (refused.status_code, said in refused.text) == (400, True)


def test_names_from_strangers_make_no_headers_of_their_own(client: httpx.Client) -> None:
    asked = BODIES["/v1/chat/completions"] | {"a\r\nSet-Cookie: x": 1, "ä" * 5000: 2}
    answer = client.post("/v1/chat/completions", json=asked)
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert len(answer.headers["X-Edgechat-Ignored"]) < 400


def test_a_heap_of_unknown_members_is_refused_soon(client: httpx.Client) -> None:
    turns = [HI[0] | {f"unknown_member_{at}_{each}": 1 for each in range(3)} for at in range(3000)]
    began = time.monotonic()
    refused = client.post("/v1/chat/completions", json={"messages": turns})
    assert (refused.status_code, f"more than {MOST}" in refused.text) == (400, True)
    assert time.monotonic() - began < 5


def test_threads_are_refused_as_their_client_expects(client: httpx.Client) -> None:
    refused = client.post("/v1/messages", json=BODIES["/v1/messages"] | {"thread": {"type": "create"}})
    assert refused.status_code == 400
    assert refused.json()["error"]["details"] == {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}


def test_a_member_without_a_name_is_told_too(client: httpx.Client) -> None:
    answer = client.post("/api/chat", json=BODIES["/api/chat"] | {"new": 1, "": 1})
    assert answer.headers["X-Edgechat-Ignored"] == 'new, ""'


def test_the_official_client_reads_the_header(client: httpx.Client) -> None:
    with anthropic.Anthropic(base_url=str(client.base_url), api_key="none", max_retries=0) as official:
        raw = official.messages.with_raw_response.create(
            model="", max_tokens=5, messages=[{"role": "user", "content": "hi"}], extra_body={"new": 1}
        )
    assert raw.headers["X-Edgechat-Ignored"] == "new"


@pytest.mark.parametrize("kind", [None, "application/x-www-form-urlencoded", "text/plain", "application/json"])
@pytest.mark.parametrize("path", BODIES)
def test_a_body_is_json_whatever_it_is_called(client: httpx.Client, path: str, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    assert client.post(path, content=json.dumps(BODIES[path]), headers=headers).status_code == 200


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("Origin", "https://elsewhere.example", 403),
        ("Origin", "null", 403),
        ("Sec-Fetch-Site", "cross-site", 403),
        ("Cookie", "edgechat_session=x", 415),
        ("Referer", "https://elsewhere.example/", 415),
    ],
)
def test_a_browser_sends_it_as_json_or_not_at_all(
    client: httpx.Client, path: str, header: str, value: str, status: int
) -> None:
    refused = client.post(path, content=json.dumps(BODIES[path]), headers={"Content-Type": "text/plain", header: value})
    assert refused.status_code == status
