"""Ollama's error object, and what its API calls the parameters of a request."""

from typing import Any

from edgechat.api.errors import Dialect, Problem

CHAT_WORDS = {"response_format": "format", "enable_thinking": "think"}
GENERATE_WORDS = {**CHAT_WORDS, "messages": "prompt"}


def error_object(problem: Problem) -> dict[str, Any]:
    """Ollama's error object; `param` and `code` are ours."""
    return {"error": problem.message, "param": problem.param, "code": problem.code}


OLLAMA = Dialect(error_object)
