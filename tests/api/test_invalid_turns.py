"""What is no conversation is a 400 in every dialect that takes one, whole or streamed: nothing is guessed."""

from typing import Any

import httpx
import pytest

ROUTES = {
    "/v1/chat/completions": "messages",
    "/v1/messages": "messages",
    "/api/chat": "messages",
    "/v1/responses": "input",
}
USER = {"role": "user", "content": "test"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("route", "field"), ROUTES.items())
@pytest.mark.parametrize(
    "turns",
    [
        None,
        17,
        {},
        [123],
        [None],
        [{}],
        [{"role": 123}],
        [{"role": 123, "content": "test"}],
        [{"role": "nobody", "content": "test"}],
        [{"role": "system", "content": 123}],
        [USER, {}],
        [USER, {"role": "user", "content": [{"type": "text"}]}],
        [USER, {"role": "user", "content": [{"type": "hologram", "text": "x"}]}],
    ],
    ids=repr,
)
def test_what_is_no_conversation_is_refused_by_name(
    client: httpx.Client, route: str, field: str, turns: Any, stream: bool
) -> None:
    answer = client.post(route, json={"model": "", "max_tokens": 5, "stream": stream, field: turns})
    if turns is None and route == "/api/chat":  # null was not given, and without messages it is loaded
        assert answer.json()["done_reason"] == "load"
        return
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    told = error if isinstance(error, str) else error["message"]
    assert field in told, told
