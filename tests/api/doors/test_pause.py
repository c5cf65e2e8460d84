"""An operator pauses the server, lets it go on, and ends it."""

import json
import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from edgechat import presence
from edgechat.cli.status import look, seen
from edgechat.keys import Keys
from edgechat.types import Limits
from tests.api.conftest import serving

TURNS = [{"role": "user", "content": "hello"}]
# Every request for an answer, in every dialect. Each is whole: unpaused, it is answered.
ANSWERS: dict[str, dict[str, Any]] = {
    "/chat": {"input": "hello"},
    "/api/runs": {"content": "hello"},
    "/v1/chat/completions": {"messages": TURNS},
    "/v1/completions": {"prompt": "hello"},
    "/v1/responses": {"input": "hello"},
    "/v1/embeddings": {"input": "hello"},
    "/v1/messages": {"messages": TURNS, "model": "fake", "max_tokens": 5},
    "/api/chat": {"messages": TURNS, "model": "fake", "stream": False},
    "/api/generate": {"prompt": "hello", "model": "fake", "stream": False},
    "/api/embed": {"input": "hello", "model": "fake"},
    "/api/embeddings": {"prompt": "hello", "model": "fake"},
}
# What else is posted, and goes on.
OTHERS = {
    "/v1/messages/count_tokens", "/tokenize", "/detokenize", "/api/show", "/api/pull", "/api/import", "/api/login",
    "/api/logout",
    "/api/models/{name:path}/load", "/api/models/{name:path}/unload", "/api/models/{name:path}/download",
    "/api/conversations/{id}/restore", "/api/conversations/{id}/messages/{message_id}/restore",
}  # fmt: skip
TALE = "A heron stands in the reeds, and waits for a fish or two."  # a token is a letter


@pytest.fixture
def server(tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of a server of its own, whose answers take a while."""
    (tmp_path / "fake.json").write_text(json.dumps({"reply": TALE, "step_ms": 30}))
    with (
        serving(tmp_path / "fake.json", tmp_path / "home", secret="s") as base,
        httpx.Client(base_url=base, timeout=30) as client,
    ):
        yield client


def become(client: httpx.Client, state: str) -> None:
    answer = client.put("/api/dash/state", json={"state": state})
    assert (answer.status_code, answer.json()) == (202, {"state": state})


class Reader(threading.Thread):
    """Somebody who reads an answer; `text` is all of it."""

    def __init__(self, client: httpx.Client) -> None:
        super().__init__(daemon=True)
        self.text = ""
        self._url = client.base_url.join("/v1/chat/completions")
        self.start()
        deadline = time.monotonic() + 20
        while '"content":"A"' not in self.text:
            assert time.monotonic() < deadline, self.text
            time.sleep(0.02)

    def run(self) -> None:
        body = {"messages": TURNS, "stream": True, "max_tokens": 500}
        with httpx.stream("POST", self._url, json=body, timeout=60) as answer:
            for part in answer.iter_text():
                self.text += part


def test_every_route_that_takes_a_post_has_a_decision() -> None:
    routes = tomllib.loads((Path(__file__).parent / "access.toml").read_text())
    posted = {route[5:] for need in ("public", "key", "operator") for route in routes[need] if route[:5] == "POST "}
    assert posted == set(ANSWERS) | OTHERS


def test_paused_it_refuses_every_request_for_an_answer_and_does_all_else(server: httpx.Client) -> None:
    become(server, "paused")
    for path, body in ANSWERS.items():
        answer = server.post(path, json=body)
        assert answer.status_code == 503, path
        assert int(answer.headers["retry-after"]) > 0
        assert "paused the server" in answer.text
        assert "server_paused" in answer.text
    assert server.post("/chat%0a", json=ANSWERS["/chat"]).status_code == 503, "another spelling of it"
    told = server.get("/readyz")
    assert (told.status_code, told.json()["state"]) == (503, "paused")
    assert told.json()["why"] == "an operator paused it"
    assert server.get("/healthz").status_code == 200
    assert server.get("/api/status").json()["state"] == "paused"
    assert server.get("/api/dash/status").json()["paused"] is True
    assert server.get("/api/conversations").json()["conversations"] == []
    assert server.post("/tokenize", json={"content": "hello"}).status_code == 200

    become(server, "serving")
    assert server.get("/readyz").status_code == 200
    for path in ("/chat", "/api/runs"):
        assert server.post(path, json=ANSWERS[path]).is_success


def test_what_was_begun_before_a_pause_is_answered_whole(server: httpx.Client) -> None:
    """One answer runs; of two runs in one conversation, the second waits for the first."""
    reader = Reader(server)
    first = server.post("/api/runs", json={"content": "one"}).json()
    again = {"content": "two", "conversation_id": first["conversation_id"], "parent_id": None}
    second = server.post("/api/runs", json=again).json()
    become(server, "paused")
    for run in (first, second):
        told = server.get(f"/api/runs/{run['run_id']}/events").text
        assert "event: error" not in told
    reader.join(30)
    assert reader.text.endswith("data: [DONE]\n\n")
    messages = server.get(f"/api/conversations/{first['conversation_id']}").json()["messages"]
    assert {one["status"] for one in messages if one["role"] == "assistant"} == {"complete"}
    assert server.get("/readyz").json()["state"] == "paused"


def test_the_terminal_says_that_it_is_paused(server: httpx.Client, tmp_path: Path) -> None:
    become(server, "paused")
    card = presence.Card(1, str(server.base_url).rstrip("/"), "s")
    (tmp_path / "home" / "server.json").write_bytes(msgspec.json.encode(card))
    found = look(tmp_path / "home")
    assert (found["state"], found["why"]) == ("paused", "an operator paused it")
    assert seen(found)


def test_only_an_operator_of_this_page_may_and_only_what_is_known(server: httpx.Client, tmp_path: Path) -> None:
    for body in ({}, {"state": "ready"}, {"state": "paused", "for": 5}, {"state": None}):
        assert server.put("/api/dash/state", json=body).status_code == 400
    wish = json.dumps({"state": "paused"})
    plain = server.put("/api/dash/state", content=wish, headers={"Content-Type": "text/plain"})
    foreign = server.put("/api/dash/state", json={"state": "paused"}, headers={"Origin": "https://evil.example"})
    _, user = Keys(tmp_path / "home" / "keys.json").add("user", False, (), Limits())
    used = server.put("/api/dash/state", json={"state": "draining"}, headers={"x-api-key": user})
    assert (plain.status_code, foreign.status_code, used.status_code) == (415, 403, 403)
    assert server.get("/readyz").json()["state"] == "ready"


def test_an_end_that_was_wished_lets_the_answer_finish(server: httpx.Client) -> None:
    reader = Reader(server)
    become(server, "draining")
    deadline = time.monotonic() + 10
    while (now := server.get("/readyz").json()["state"]) != "draining":
        assert time.monotonic() < deadline, now
    again = server.put("/api/dash/state", json={"state": "draining"})
    assert (again.status_code, again.json()["error"]["code"]) == (503, "server_shutting_down")
    reader.join(30)
    assert reader.text.endswith("data: [DONE]\n\n")
