"""Streamed and unstreamed answers of a real model are the same: text, usage and finish reason, one at a time.

`make test` takes a sample on a smaller model; EDGECHAT_TORTURE=1 takes all.
"""

import json
import os
import random
from typing import Any

import httpx
import pytest

TORTURE = bool(os.environ.get("EDGECHAT_TORTURE"))
ROUTE = "/v1/chat/completions"
PROMPTS = 100 if TORTURE else 6
TOPICS = (
    "the tide",
    "bread",
    "红茶",
    "quicksort",
    "冬天",
    "a lighthouse",
    "π",
    "emoji like 👋🏽",
    "rust on iron",
    "拼音",
)
TASKS = (
    "Explain {}.",
    "写一首关于{}的短诗。",
    "List three facts about {}.",
    "Write Python code about {}.",
    "What is {}?",
)

pytestmark = pytest.mark.model


def streamed(client: httpx.Client, asked: dict[str, Any]) -> dict[str, Any]:
    """The answer's choice and usage, put together from its events."""
    said, end, usage = "", None, None
    with client.stream(
        "POST", ROUTE, json=asked | {"stream": True, "stream_options": {"include_usage": True}}
    ) as answer:
        for line in answer.iter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line.removeprefix("data: "))
            usage = chunk.get("usage") or usage
            for choice in chunk["choices"]:
                said += choice["delta"].get("content") or ""
                end = choice["finish_reason"] or end
    assert usage is not None
    return {"text": said, "end": end, "usage": (usage["prompt_tokens"], usage["completion_tokens"])}


def whole(client: httpx.Client, asked: dict[str, Any]) -> dict[str, Any]:
    """The same of the answer that comes at once."""
    answer = client.post(ROUTE, json=asked).json()
    choice, usage = answer["choices"][0], answer["usage"]
    return {
        "text": choice["message"]["content"],
        "end": choice["finish_reason"],
        "usage": (usage["prompt_tokens"], usage["completion_tokens"]),
    }


@pytest.mark.parametrize("number", range(PROMPTS))
def test_streamed_is_unstreamed(client: httpx.Client, number: int) -> None:
    draw = random.Random(number)
    text = draw.choice(TASKS).format(draw.choice(TOPICS))
    asked = {
        "messages": [{"role": "user", "content": text}],
        "temperature": 0,
        "max_tokens": draw.choice([1, 7, 30, 60]),
    }
    if draw.random() < 0.3:
        asked["stop"] = draw.choice(["。", "\n", " the ", "1."])
    whole(client, asked | {"max_tokens": 1})  # read now: a prompt from the cache may differ in the last bits
    assert streamed(client, asked) == whole(client, asked)
