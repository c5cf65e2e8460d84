"""Anthropic's error object, and what the Messages API calls the parameters of a request."""

from typing import Any

from edgechat.api.errors import Dialect, Problem

WORDS = {"response_format": "output_config.format", "enable_thinking": "thinking"}

# What makes its clients go on without something that is not to be had here.
DETAILS = {"thread": {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}}
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def error_object(problem: Problem) -> dict[str, Any]:
    """Anthropic's error object; `param` and `code` are ours."""
    kind = _TYPES.get(problem.status) or ("invalid_request_error" if problem.status < 500 else "api_error")
    error: dict[str, Any] = {"type": kind, "message": problem.message, "param": problem.param, "code": problem.code}
    if problem.param in DETAILS:
        error["details"] = DETAILS[problem.param]
    return {"type": "error", "error": error}


ANTHROPIC = Dialect(error_object, id_header="request-id")
