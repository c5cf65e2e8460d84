import gc
import inspect
import sys
import time
from pathlib import Path

import httpx
import psutil
from fastapi.routing import APIRoute, iter_route_contexts

from edgechat.api.app import create_app
from edgechat.runtime import Runtime
from edgechat.settings import Settings
from tests.api.conftest import serving
from tests.conftest import FakeModel


def test_life_and_readiness(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/health").json() == {"status": "ok"}
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {
        "state": "ready",
        "model": "fake.json",
        "languages": [],
        "senses": [],
        "patch": 0,
        "wanted": None,
        "why": None,
        "hint": None,
        "progress": None,
        "download": None,
    }


def test_no_request_takes_a_way_through_a_thread(tmp_path: Path) -> None:
    """Not to the route, and not to what it depends on: threads cost more than what they would do there, and run out."""
    app = create_app(Runtime(Settings(engine="fake", model="x", home=tmp_path)))
    routes = [
        route for context in iter_route_contexts(app.routes) if isinstance(route := context.original_route, APIRoute)
    ]
    called = [one.call for route in routes for one in (route.dependant, *route.dependant.dependencies)]
    assert len(called) > len(routes) > 40
    assert [call for call in called if not inspect.iscoroutinefunction(call)] == []


def test_python_itself_holds_nobody_up_for_long(fake_model: FakeModel, tmp_path: Path) -> None:
    """What a running server is made of is not looked through for garbage, and threads that compute give way soon."""
    with serving(fake_model(), tmp_path / "home"):
        assert gc.get_freeze_count() > 50_000
        assert sys.getswitchinterval() < 0.005


def test_the_articles_chat(client: httpx.Client) -> None:
    assert client.post("/chat", json={"input": "hello"}).json() == {"reply": "You said: hello"}
    refused = client.post("/chat", json={"input": ""})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "input"


def test_readiness_follows_the_worker(client: httpx.Client) -> None:
    """The engine dies: 503 with the reason, the process lives, and it answers again by itself."""
    (worker,) = [child for child in psutil.Process().children() if "edgechat.worker.main" in " ".join(child.cmdline())]
    worker.kill()
    worker.wait(5)
    seen: list[int] = []
    deadline = time.monotonic() + 10
    while 503 not in seen or seen[-1] != 200:
        assert time.monotonic() < deadline, seen
        seen.append(client.get("/readyz").status_code)
        assert client.get("/healthz").status_code == 200
        time.sleep(0.01)
    assert client.post("/chat", json={"input": "back?"}).json() == {"reply": "You said: back?"}


def test_before_the_model_answers_requests_are_refused_with_the_state(fake_model: FakeModel, tmp_path: Path) -> None:
    missing = tmp_path / "none.gguf"
    with serving(missing, tmp_path / "home") as base:
        readiness = httpx.get(f"{base}/readyz")
        assert readiness.status_code == 503
        assert readiness.json()["state"] == "failed"
        assert "none.gguf" in readiness.json()["why"]
        answer = httpx.post(f"{base}/chat", json={"input": "hello"})
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "model_not_ready"
        assert int(answer.headers["retry-after"]) > 0


def test_the_api_describes_itself(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) >= {"/v1/models", "/v1/models/{id}", "/v1/chat/completions", "/healthz", "/readyz", "/chat"}
    assert set(paths) >= {"/api/runs", "/api/runs/{id}", "/api/runs/{id}/events"}
    assert set(paths) >= {f"/api/conversations{rest}" for rest in ("", "/{id}", "/{id}/restore")}


def test_unknown_routes_have_the_same_error_shape(client: httpx.Client) -> None:
    for answer in (client.get("/no/such"), client.put("/healthz", json={})):
        assert answer.status_code in (404, 405)
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
