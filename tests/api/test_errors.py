import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Scope
from structlog.testing import capture_logs

from edgechat import errors
from edgechat.api.anthropic.errors import ANTHROPIC
from edgechat.api.app import create_app
from edgechat.api.errors import OPENAI, STATUS, Dialect, Problem, response
from edgechat.api.ollama.errors import OLLAMA
from edgechat.api.openai.wire import INERT, NEUTRAL, ChatRequest
from edgechat.runtime import Runtime
from edgechat.settings import Settings
from tests.api.conftest import serving
from tests.conftest import FakeModel

SPOKEN = [
    ("/v1/messages", ANTHROPIC),
    ("/v1/messages/", ANTHROPIC),
    ("/v1/messages/count_tokens", ANTHROPIC),
    ("/v1/messages/nothing/here", ANTHROPIC),
    ("/v1/messagesx", OPENAI),
    *((f"/api/{name}", OLLAMA) for name in ("chat", "generate", "tags", "show", "ps", "version")),
    ("/api/chats", OLLAMA),
    ("/v1/chat/completions", OPENAI),
    ("/v1/models", OPENAI),
    ("/nowhere", OPENAI),
    ("/", OPENAI),
]
PROBLEM = Problem(400, "no", "invalid_request", "n")


def test_every_error_has_a_row_of_its_own() -> None:
    assert set(STATUS) == set(errors.tree())
    assert all(status in (400, 403, 404, 409, 422, 429) or 500 <= status < 600 for status in STATUS.values())


def test_the_clients_own_errors_are_4xx_and_nothing_else_is() -> None:
    for kind, status in STATUS.items():
        asked = issubclass(kind, errors.RequestError | errors.QueueFull)
        assert (status < 500) == asked, kind


def test_each_dialect_has_its_own_shape() -> None:
    assert OPENAI.shape(PROBLEM) == {
        "error": {"message": "no", "type": "invalid_request_error", "param": "n", "code": "invalid_request"}
    }
    error = {"type": "invalid_request_error", "message": "no", "param": "n", "code": "invalid_request"}
    assert ANTHROPIC.shape(PROBLEM) == {"type": "error", "error": error}
    assert OLLAMA.shape(PROBLEM) == {"error": "no", "param": "n", "code": "invalid_request"}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    return create_app(Runtime(Settings(engine="fake", model="x", home=tmp_path_factory.mktemp("errors"))))


@pytest.mark.parametrize(("path", "dialect"), SPOKEN)
def test_a_path_decides_on_the_dialect(app: FastAPI, path: str, dialect: Dialect) -> None:
    assert app.state.table.dialect(path) is dialect


def test_what_may_be_tried_again_says_when(app: FastAPI) -> None:
    full = errors.QueueFull("full")
    full.retry_after_s = 2.1
    assert answered(app, "/v1/messages", full)[1]["retry-after"] == "3"
    assert answered(app, "/api/chat", errors.NotReady("wait"))[1]["retry-after"] == "2"
    assert "retry-after" not in answered(app, "/", errors.ModelNotFound("none"))[1]


def answered(app: FastAPI, path: str, error: errors.EdgechatError) -> tuple[Any, Any]:
    scope: Scope = {"type": "http", "path": path, "app": app, "state": {"request_id": "r1"}}
    answer = response(scope, Problem.of(error))
    return json.loads(bytes(answer.body)), answer.headers


def test_anthropics_body_names_the_request(app: FastAPI) -> None:
    assert answered(app, "/v1/messages", errors.NotReady("wait"))[0]["request_id"] == "r1"
    assert "request_id" not in answered(app, "/v1/models", errors.NotReady("wait"))[0]


@pytest.mark.parametrize(("path", "dialect"), SPOKEN)
def test_refusals_before_any_route_have_the_dialects_shape(client: httpx.Client, path: str, dialect: Dialect) -> None:
    refused = client.post(path, content=b"{}", headers={"Content-Type": "application/json", "Content-Encoding": "gzip"})
    assert refused.status_code == 415
    problem = Problem.http(415, "Send the body without Content-Encoding.")
    expected = dialect.shape(problem)
    assert refused.json() == expected | ({"request_id": refused.headers["request-id"]} if "type" in expected else {})
    assert problem.code == "unsupported_media_type"


WIZARD = {"type": "wizard"}  # a schema that does not compile
TURNS = [{"role": "user", "content": "x"}]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/chat/completions", {"messages": TURNS, "enable_thinking": True}, "enable_thinking"),
        (
            "/v1/messages",
            {"messages": TURNS, "output_config": {"format": {"type": "json_schema", "schema": WIZARD}}},
            "output_config.format",
        ),
        (
            "/v1/responses",
            {"input": "x", "text": {"format": {"type": "json_schema", "name": "x", "schema": WIZARD}}},
            "text.format",
        ),
        ("/v1/responses", {"input": "x" * 5000}, "input"),
        ("/api/chat", {"messages": TURNS, "think": True}, "think"),
        ("/api/chat", {"messages": TURNS, "format": WIZARD}, "format"),
        ("/api/generate", {"prompt": "x" * 5000}, "prompt"),
    ],
)
def test_a_refusal_by_the_worker_names_what_the_dialect_calls_it(
    client: httpx.Client, path: str, body: dict[str, Any], param: str
) -> None:
    refused = client.post(path, json=body)
    assert refused.status_code == 400
    error = refused.json() if path.startswith("/api/") else refused.json()["error"]
    assert error["param"] == param


def test_the_wrong_way_is_told_from_the_right_one(client: httpx.Client) -> None:
    lost = client.post("/v1/nothing", json={})
    assert lost.status_code == 404
    assert lost.json()["error"]["message"] == "There is no /v1/nothing here; /openapi.json lists the routes."
    for path, meant in {
        "/chat/completions": "/v1/chat/completions",  # a base URL without /v1
        "/v1/v1/chat/completions": "/v1/chat/completions",  # one with it, for a client that adds it
        "/v1/api/chat": "/api/chat",
        "/messages": "/v1/messages",
    }.items():
        said = f"There is no {path} here, but {meant} is: look at the client's base URL."
        assert said in client.post(path, json={}).text
    wrong = client.get("/v1/chat/completions")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert wrong.json()["error"]["message"] == "/v1/chat/completions does not take GET: use POST."


@pytest.mark.parametrize("path", ["/", "/healthz", "/v1/models", "/api/tags", "/openapi.json"])
def test_head_is_get_without_the_body(client: httpx.Client, path: str) -> None:
    plain = {"Accept-Encoding": "identity"}
    whole, head = client.get(path, headers=plain), client.head(path, headers=plain)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == whole.headers["content-length"] == str(len(whole.content))
    assert client.get(path, headers=plain).content == whole.content  # and the connection is still in step


def test_a_bug_is_a_500_with_an_id_and_without_its_secrets(
    fake_model: FakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("/secret/path")

    with serving(fake_model(), tmp_path / "home") as base, capture_logs() as logged:
        monkeypatch.setattr("edgechat.runtime.Runtime.find", broken)
        answer = httpx.get(f"{base}/v1/models/x", headers={"X-Request-Id": "mine"}, timeout=30)
    assert [line["event"] for line in logged] == ["a bug"]
    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "mine")
    assert answer.json()["error"]["code"] == "internal_error"
    assert "secret" not in answer.text


def test_a_parameter_is_honoured_or_has_no_effect_and_what_asks_for_nothing_may_still_be_told() -> None:
    honoured, neutral, inert = set(ChatRequest.model_fields), set(NEUTRAL), set(INERT)
    assert not honoured & neutral
    assert not honoured & inert
    assert neutral & inert == {"store"}  # false asks for nothing; true is told
