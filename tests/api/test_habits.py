"""Habits of real clients: what they send beside or against a reference, each answered, or refused by name.

docs/server-tests.md has the table: the case, what was decided, the test.
"""

import json
from typing import Any

import httpx
import pytest

from edgechat.api.ollama.wire import GenerateRequest
from edgechat.types import Sampling

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
HI = {"role": "user", "content": "Hi"}
HELLO = {"role": "assistant", "content": "Hello."}
NOTHING = {"type": "object", "properties": {}}
NOW = {"type": "function", "function": {"name": "now", "description": "Tells the time.", "parameters": NOTHING}}
TOUCH = {"name": "touch", "input_schema": NOTHING, "cache_control": {"type": "ephemeral"}}


def called(**more: Any) -> list[dict[str, Any]]:
    """A question, a call and its result, with `more` in the call."""
    call = {"id": "call_1", "type": "function", "function": {"name": "now", "arguments": "{}"}, **more}
    asks = {"role": "assistant", "content": None, "tool_calls": [call]}
    return [HI, asks, {"role": "tool", "tool_call_id": "call_1", "content": "12:00"}]


def touched(**result: Any) -> list[dict[str, Any]]:
    """A tool's result as Anthropic's clients tell it."""
    use = {"type": "tool_use", "id": "toolu_1", "name": "touch", "input": {}}
    told = {"type": "tool_result", "tool_use_id": "toolu_1", **result}
    return [HI, {"role": "assistant", "content": [use]}, {"role": "user", "content": [told]}]


TAKEN: list[tuple[str, str, dict[str, Any]]] = [
    ("a call with the index of its stream", CHAT, {"messages": called(index=0), "tools": [NOW]}),
    (
        "an answer as the client's library dumps it",
        CHAT,
        {
            "messages": [
                HI,
                HELLO | {"refusal": None, "annotations": [], "audio": None, "function_call": None, "tool_calls": None},
                HI,
            ]
        },
    ),
    ("an empty answer", CHAT, {"messages": [HI, {"role": "assistant", "content": ""}, HI]}),
    ("no calls, as a list", CHAT, {"messages": [HI, HELLO | {"tool_calls": []}, HI]}),
    ("names of speakers", CHAT, {"messages": [HI | {"name": "planner"}, HELLO | {"name": "writer"}, HI]}),
    (
        "a system message in the middle",
        CHAT,
        {"messages": [HI, HELLO, {"role": "system", "content": "In French."}, HI]},
    ),
    (
        "two system messages",
        CHAT,
        {"messages": [{"role": "developer", "content": "Be brief."}, {"role": "system", "content": "Metric."}, HI]},
    ),
    (
        "a system message in the middle",
        MESSAGES,
        {"messages": [HI, {"role": "system", "content": "It is Monday."}, HI]},
    ),
    (
        "a system message in the middle",
        "/api/chat",
        {"messages": [HI, {"role": "system", "content": "In French."}, HI]},
    ),
    (
        "a result that is null",
        CHAT,
        {"messages": [*called()[:2], {"role": "tool", "tool_call_id": "call_1", "content": None}], "tools": [NOW]},
    ),
    (
        "a result that is null",
        RESPONSES,
        {
            "input": [
                {"type": "function_call", "call_id": "c", "name": "now", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": None},
            ]
        },
    ),
    ("a result without content", MESSAGES, {"messages": touched(), "tools": [TOUCH]}),
    ("a result that is null", MESSAGES, {"messages": touched(content=None, is_error=None), "tools": [TOUCH]}),
    ("an empty result", MESSAGES, {"messages": touched(content=""), "tools": [TOUCH]}),
    ("a result of no blocks", MESSAGES, {"messages": touched(content=[]), "tools": [TOUCH]}),
    (
        "a result of blocks with a hint to the cache",
        MESSAGES,
        {"messages": touched(content=[{"type": "text", "text": "ok", "cache_control": {"type": "ephemeral"}}])},
    ),
    ("thinking that adapts", MESSAGES, {"messages": [HI], "thinking": {"type": "adaptive"}}),
    (
        "content that is null beside a call",
        "/api/chat",
        {
            "messages": [
                HI,
                {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "now", "arguments": {}}}]},
                {"role": "tool", "name": "now", "content": "12:00"},
            ]
        },
    ),
    (
        "null everywhere",
        "/api/chat",
        {"messages": [HI | {"images": None}], "tools": None, "format": None, "think": None},
    ),
    ("no format, as Go writes it", "/api/chat", {"messages": [HI], "format": ""}),
    ("every option at its default", "/api/generate", {"prompt": "Hi", "options": {"num_keep": 4, "f16_kv": True}}),
    ("durations as Go writes them", "/api/generate", {"prompt": "Hi", "keep_alive": "24h0m0s"}),
    ("for ever", "/api/chat", {"messages": [HI], "keep_alive": "-1s", "options": {"num_ctx": 16384}}),
    (
        "an earlier answer's items as they came",
        RESPONSES,
        {
            "input": [
                HI,
                {"type": "reasoning", "id": "rs_1", "summary": [], "content": None, "encrypted_content": None},
                {"type": "message", "id": "msg_1", "status": "completed", **HELLO, "phase": None},
                {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "now", "arguments": "", "status": None},
                {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "12:00"}]},
            ]
        },
    ),
]


@pytest.mark.parametrize(
    ("path", "body"), [(path, body) for _, path, body in TAKEN], ids=[f"{p} {n}" for n, p, _ in TAKEN]
)
def test_what_clients_are_in_the_habit_of_is_taken(client: httpx.Client, path: str, body: dict[str, Any]) -> None:
    answer = client.post(path, json=body | {"stream": False})
    assert answer.status_code == 200, answer.text


CLAUDE_CODE: dict[str, Any] = {
    "max_tokens": 32000,
    "system": [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197.0df; cc_entrypoint=sdk-cli;"},
        {"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]},
        {"role": "system", "content": "Today is Monday."},
    ],
    "tools": [{"name": "Read", "description": "Reads.", "input_schema": NOTHING | {"$schema": "https://a.example/b"}}],
    "metadata": {"user_id": json.dumps({"session": "x"})},
    "thinking": {"type": "adaptive"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "output_config": {"effort": "high"},
}
CODEX: dict[str, Any] = {
    "instructions": "You are a coding agent.",
    "input": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Sandbox: read-only."}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Say hi."}]},
    ],
    "tools": [
        {"type": "function", "name": "shell", "strict": False, "parameters": NOTHING},
        {"type": "namespace", "name": "ns", "tools": [{"type": "function", "name": "a", "parameters": NOTHING}]},
        {"type": "web_search", "external_web_access": False},
        {"type": "custom", "name": "apply_patch", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "reasoning": {"effort": "medium", "summary": "auto"},
    "text": {"verbosity": "low"},
    "include": ["reasoning.encrypted_content"],
    "store": False,
    "prompt_cache_key": "abc",
    "client_metadata": {"a": "b"},
}


def test_what_claude_code_sends_is_answered(client: httpx.Client) -> None:
    answer = client.post(f"{MESSAGES}?beta=true", json=CLAUDE_CODE).json()
    assert answer["type"] == "message", answer
    assert {"context_management", "output_config.effort", "system.0"} <= set(answer["edgechat"]["ignored"])


def test_claude_codes_prompt_is_found_read_whatever_it_notes_for_its_billing(client: httpx.Client) -> None:
    counts = []
    for version in ("0df", "a3f"):
        note = {"type": "text", "text": f"x-anthropic-billing-header: cc_version=2.1.197.{version};"}
        asked = CLAUDE_CODE | {"system": [note, *CLAUDE_CODE["system"][1:]]}
        counts.append(client.post(MESSAGES, json=asked).json()["usage"]["cache_read_input_tokens"])
    assert counts[1] > 100


def test_what_codex_sends_is_answered_and_an_items_id_stays_the_same(client: httpx.Client) -> None:
    lines = client.post(RESPONSES, json=CODEX | {"stream": True}).text.splitlines()
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["type"] == "response.completed"
    added, done = (
        [event["item"]["id"] for event in events if event["type"] == f"response.output_item.{what}"]
        for what in ("added", "done")
    )
    assert added == done == [item["id"] for item in events[-1]["response"]["output"]]
    ignored = events[-1]["response"]["edgechat"]["ignored"]
    assert {"include", "client_metadata", "reasoning.summary", "tools.1.namespace", "tools.2.web_search"} <= set(
        ignored
    )


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CHAT, {"messages": [HI], "max_tokens": -1}, "max_tokens"),
        (CHAT, {"messages": [HI, {"role": "assistant", "content": None, "reasoning_content": "hm"}]}, "content"),
        (
            MESSAGES,
            {"messages": [HI], "max_tokens": 16, "thinking": {"type": "enabled", "budget_tokens": 1024}},
            "budget",
        ),
        ("/api/chat", {"messages": [HI], "keep_alive": "5 minutes"}, "keep_alive"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name_as_json(
    client: httpx.Client, path: str, body: dict[str, Any], param: str, stream: bool
) -> None:
    refused = client.post(path, json=body | {"stream": stream})
    assert (refused.status_code, refused.headers["content-type"]) == (400, "application/json")
    assert param in refused.text


def test_minus_one_is_another_seed_every_time() -> None:
    asked = GenerateRequest.model_validate({"prompt": "x", "options": {"seed": -1}})
    assert asked.generation(Sampling(seed=None)).sampling.seed is None
