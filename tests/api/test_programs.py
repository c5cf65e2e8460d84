"""Programs that are not installed for a test: their requests as their public sources build them, in their order.

Each conversation has a tool round, where the program has tools. What a program reads of the answers is looked at.
"""

import json
from typing import Any

import httpx
import pytest

NOTHING: dict[str, Any] = {"type": "object", "properties": {}}
NOW = {"type": "function", "function": {"name": "now", "description": "Tells the time.", "parameters": NOTHING}}
SYSTEM, ASKS = {"role": "system", "content": "You are an agent."}, {"role": "user", "content": "What time is it?"}
CALL = {"function": {"name": "now", "arguments": {}}}
OPENAI_CALL = {"id": "call_1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
ROUND = [
    {"role": "assistant", "content": "", "tool_calls": [OPENAI_CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "12:00"},
]
CHAT, OLLAMA, SHOW = "/v1/chat/completions", "/api/chat", "/api/show"
N8N = {
    "f16_kv": True, "frequency_penalty": 0, "low_vram": False, "main_gpu": 0, "mirostat": 0, "mirostat_eta": 0.1,
    "mirostat_tau": 5.0, "num_batch": 512, "num_ctx": 2048, "num_gpu": -1, "num_keep": 4, "num_predict": -1,
    "num_thread": 0, "penalize_newline": True, "presence_penalty": 0, "repeat_last_n": 64, "repeat_penalty": 1.0,
    "temperature": 0.7, "tfs_z": 1, "top_k": -1, "top_p": 1, "typical_p": 1, "use_mlock": False, "use_mmap": True,
}  # fmt: skip
PROGRAMS: dict[str, list[tuple[str, dict[str, Any] | None]]] = {
    "Zed": [
        ("/api/tags", None),
        (SHOW, {"model": "MODEL"}),
        (
            OLLAMA,
            {
                "messages": [
                    SYSTEM,
                    ASKS,
                    {"role": "assistant", "content": "", "tool_calls": [CALL], "thinking": None},
                    {"role": "tool", "tool_name": "now", "content": "12:00"},
                ],
                "stream": True,
                "keep_alive": -1,
                "options": {"num_ctx": 16384, "num_predict": None, "stop": [], "temperature": 1.0, "top_p": None},
                "tools": [NOW],
                "think": None,
            },
        ),
    ],
    "VS Code, Ollama": [
        ("/api/version", None),
        ("/api/tags", None),
        (SHOW, {"model": "MODEL"}),
        (
            CHAT,
            {
                "messages": [SYSTEM, ASKS, *ROUND],
                "temperature": 0.1,
                "top_p": 1,
                "n": 1,
                "stream": True,
                "stream_options": {"include_usage": True},
                "tools": [NOW],
                "tool_choice": "auto",
            },
        ),
    ],
    "VS Code, Responses": [
        (
            "/v1/responses",
            {
                "input": [{"role": "user", "content": [{"type": "input_text", "text": "What time is it?"}]}],
                "stream": True,
                "store": True,
                "temperature": 0.1,
                "top_p": 1,
                "truncation": "disabled",
                "tools": [{"type": "function", "strict": False, **NOW["function"]}],  # type: ignore[dict-item]
            },
        ),
    ],
    "Home Assistant": [
        ("/api/tags", None),
        (
            OLLAMA,
            {
                "messages": [
                    SYSTEM,
                    ASKS,
                    {"role": "assistant", "tool_calls": [CALL, CALL]},
                    {"role": "tool", "content": '{"data": "12:00", "error": null}'},
                    {"role": "tool", "content": '{"data": "12:01", "error": null}'},
                ],
                "tools": [NOW],
                "stream": True,
                "keep_alive": "-1s",
                "options": {"num_ctx": 8192},
                "think": False,
            },
        ),
    ],
    "n8n": [(OLLAMA, {"messages": [SYSTEM, ASKS], "stream": True, "format": "", "keep_alive": "5m", "options": N8N})],
    "Open WebUI": [
        ("/api/tags", None),
        ("/api/ps", None),
        ("/api/version", None),
        (OLLAMA, {"messages": [ASKS], "stream": True, "options": {"num_ctx": 8192, "seed": 1}, "keep_alive": "5m"}),
        ("/v1/models", None),
        (CHAT, {"messages": [ASKS], "stream": True, "stream_options": {"include_usage": True}}),
        (CHAT, {"messages": [ASKS], "stream": False, "max_completion_tokens": 1000}),
    ],
    "Cline": [
        ("/api/tags", None),
        (OLLAMA, {"messages": [SYSTEM, ASKS], "stream": True, "options": {"num_ctx": 32768}}),
        (
            CHAT,
            {
                "messages": [SYSTEM, {"role": "user", "content": [{"type": "text", "text": "What time is it?"}]}],
                "temperature": 0,
                "stream": True,
                "stream_options": {"include_usage": True},
                "tools": [NOW],
            },
        ),
    ],
    "Continue": [
        (SHOW, {"name": "MODEL"}),
        (
            OLLAMA,
            {
                "messages": [SYSTEM, ASKS],
                "options": {"num_predict": 2048, "num_ctx": 8192, "stop": ["<|im_end|>"], "temperature": None},
                "keep_alive": 1800,
                "stream": True,
                "tools": [NOW],
            },
        ),
        ("/api/generate", {"prompt": "def f(", "raw": True, "stream": True, "options": {"stop": ["\n\n"]}}),
    ],
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_a_program_asks_by_itself_and_of_its_user_is_answered(client: httpx.Client, name: str) -> None:
    model = client.get("/v1/models").json()["data"][0]["id"]
    for path, body in PROGRAMS[name]:
        if body is None:
            answer = client.get(path)
        else:
            asked = body | {} if path == SHOW else {"model": model, **body}
            answer = client.post(path, content=json.dumps(asked).replace('"MODEL"', json.dumps(model)))
        assert answer.status_code == 200, (path, answer.text)
        for looked_at in {"/api/tags": "quantization_level", SHOW: "general.architecture"}.get(path, "").split():
            assert looked_at in answer.text


def test_a_program_that_reads_the_models_abilities_finds_tools_and_the_context(client: httpx.Client) -> None:
    model = client.get("/api/tags").json()["models"][0]["model"]
    shown = client.post(SHOW, json={"model": model}).json()
    architecture = shown["model_info"]["general.architecture"]
    assert "tools" in shown["capabilities"]
    assert shown["model_info"][f"{architecture}.context_length"] > 0
    assert shown["model_info"]["general.basename"]
    assert [int(part) for part in client.get("/api/version").json()["version"].split(".")] >= [0, 6, 4]
