"""Route × credential and Host × Origin, each as a data file; sessions; what one key's owner cannot see of another's."""

import json
import re
import socket
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from edgechat.api.app import create_app
from edgechat.api.routes import Asks, Facts, Need, Router, Table
from edgechat.keys import Keys
from edgechat.runtime import Runtime
from edgechat.settings import Settings
from edgechat.types import Limits
from tests.api.conftest import serving

HERE = Path(__file__).parent
ROUTES = tomllib.loads((HERE / "access.toml").read_text())
RAW = {"PUT /api/attachments"}  # what takes bytes
CASES = tomllib.loads((HERE / "origins.toml").read_text())["case"]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "FROB")
LEVELS = ("public", "key", "operator")


class Guarded:
    """A server that asks for keys, and three of them."""

    def __init__(self, base: str, keys: Keys) -> None:
        self.base = base
        self.keys = keys
        self.user, self.other = (keys.add(name, False, (), Limits())[1] for name in ("user", "other"))
        self.operator = keys.add("operator", True, (), Limits())[1]
        self.revoked = keys.add("gone", True, (), Limits())[1]
        keys.revoke("gone")

    def login(self) -> str:
        """A new session's cookie."""
        answer = httpx.post(f"{self.base}/api/login", json={"key": self.user})
        return answer.headers["set-cookie"].split(";")[0]

    def credentials(self) -> dict[str, dict[str, str]]:
        """Headers by the level that they reach."""
        cookie, another = (self.login() for _ in range(2))
        return {
            "nothing": {},
            "an empty bearer": {"Authorization": "Bearer"},
            "a wrong key": {"Authorization": "Bearer ec-wrong"},
            "a long key": {"Authorization": "Bearer " + "x" * 20_000},
            "no scheme": {"Authorization": self.operator},
            "basic": {"Authorization": "Basic " + self.operator},
            "a revoked key": {"Authorization": f"Bearer {self.revoked}"},
            "a wrong x-api-key": {"x-api-key": "ec-wrong"},
            "a forged cookie": {"Cookie": "edgechat_session=changeme"},
            "two owners": {"Authorization": f"Bearer {self.user}", "x-api-key": self.other},
            "one good, one bad": {"Authorization": f"Bearer {self.operator}", "x-api-key": "ec-wrong"},
            "a key and a stale cookie": {"Authorization": f"Bearer {self.user}", "Cookie": "edgechat_session=x"},
            "key: bearer": {"Authorization": f"bearer {self.user}"},
            "key: x-api-key": {"x-api-key": self.user},
            "key: cookie": {"Cookie": cookie},
            "key: twice": {"Authorization": f"Bearer {self.user}", "x-api-key": self.user, "Cookie": another},
            "operator: bearer": {"Authorization": f"Bearer {self.operator}"},
        }


def reaches(credential: str) -> int:
    """The level that a credential opens."""
    return LEVELS.index(credential.partition(":")[0]) if ":" in credential else 0


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "fake.json").write_text("{}")
    more: dict[str, Any] = {"hosts": ("chat.example",), "cors_origins": ("https://app.example",)}
    with serving(folder / "fake.json", folder / "home", **more) as base:
        yield Guarded(base, Keys(folder / "home" / "keys.json"))


def every_route(tmp_path: Path) -> set[str]:
    app = create_app(Runtime(Settings(engine="fake", model="x", home=tmp_path)))
    return {
        f"{method} {context.path}" for context in iter_route_contexts(app.routes) for method in context.methods or ()
    }


def test_every_route_has_a_decision(tmp_path: Path) -> None:
    decided = [route for level in LEVELS for route in ROUTES[level]]
    assert len(decided) == len(set(decided))
    assert every_route(tmp_path) == set(decided)


def test_a_route_without_a_decision_cannot_be_written(tmp_path: Path) -> None:
    router: Any = Router()
    with pytest.raises(TypeError, match="facts"):
        router.get("/x", summary="It says nothing")
    with pytest.raises(TypeError, match="who"):
        Facts()  # type: ignore[call-arg]
    app = create_app(Runtime(Settings(engine="fake", model="x", home=tmp_path)))

    @app.get("/x")
    async def x() -> None: ...

    with pytest.raises(TypeError, match="/x states no facts"):
        Table(app.routes)
    router = Router()
    router.post("/{x}", Facts(Need.KEY, Asks.NOW), "The gate would not find it")(every_route)
    with pytest.raises(TypeError, match="holds a place"):
        Table(router.api.routes)


def test_where_two_routes_match_the_stricter_need_holds_and_the_framework_decides_the_rest() -> None:
    router = Router("/a")

    @router.get("/c", Facts(Need.PUBLIC), "Another")  # the last one is the first one
    @router.delete("/b", Facts(Need.KEY, max_body=3), "The same by another method")
    @router.post("/b", Facts(Need.OPERATOR, max_body=2), "One of them")
    @router.post("/{name:path}", Facts(Need.PUBLIC, max_body=1), "Anything")
    async def none() -> None: ...

    table = Table(router.api.routes)
    told = {
        (method, path): (table.at(method, path).who, table.at(method, path).max_body)
        for method, path in [
            ("POST", "/a/b"),
            ("POST", "/a/b\n"),
            ("POST", "/a/x"),
            ("DELETE", "/a/b"),
            ("PUT", "/a/b"),
        ]
    }
    assert told == {
        ("POST", "/a/b"): (Need.OPERATOR, 1),
        ("POST", "/a/b\n"): (Need.OPERATOR, 1),  # a pattern's end lets a newline pass
        ("POST", "/a/x"): (Need.PUBLIC, 1),
        ("DELETE", "/a/b"): (Need.KEY, 3),
        ("PUT", "/a/b"): (Need.OPERATOR, 1),
    }
    assert table.at("HEAD", "/a/c").who is Need.PUBLIC
    assert table.at("GET", "/nothing") == Facts(Need.KEY)


def test_route_by_credential(guarded: Guarded) -> None:
    """A door that is open leads to the route itself, which may find other faults; a shut one says 401 or 403."""
    tried = 0
    with httpx.Client(base_url=guarded.base, timeout=10) as client:
        for credential, headers in guarded.credentials().items():
            for need, level in enumerate(LEVELS):
                for route in ROUTES[level]:
                    method, _, path = route.partition(" ")
                    body: Any = {} if method in ("GET", "HEAD") else {"json": {}}
                    if route in RAW:
                        body = {"content": b"", "headers": headers | {"Content-Type": "application/octet-stream"}}
                    url = re.sub(r"\{[^}]*\}", "x", path)
                    with client.stream(method, url, **{"headers": headers, **body}) as answer:  # one of them never ends
                        status = answer.status_code
                    shut = need > reaches(credential)
                    assert (status in (401, 403)) == shut or path == "/api/login", (route, credential)
                    assert status < 500 or path == "/readyz", (route, credential, status)
                    tried += 1
    print(f"{tried} route × credential pairs")


def test_other_methods_and_other_spellings_lead_nowhere(guarded: Guarded) -> None:
    port = httpx.URL(guarded.base).port or 80
    for path in [*ROUTES["elsewhere"], *(route.split(" ")[1] for route in ROUTES["key"] + ROUTES["operator"])]:
        for method in METHODS:
            status = raw(port, f"{method} {path.replace('{id:path}', 'x')} HTTP/1.1\r\nHost: localhost\r\n")
            assert status in (400, 401, 403, 404, 405, 415), (method, path, status)
    for target in ("http://localhost/v1/models", "http://evil.example/v1/models"):
        assert raw(port, f"GET {target} HTTP/1.1\r\nHost: localhost\r\n") in (400, 401)
    user = f"Host: localhost\r\nX-Api-Key: {guarded.user}\r\n"
    for spelled in ("/metrics", "/metrics%0a", "/%6detrics", "/api/dash/status%0A"):
        assert raw(port, f"GET {spelled} HTTP/1.1\r\n{user}") == 403, spelled
    assert raw(port, "GET /v1/models HTTP/1.1\r\n") == 400
    assert raw(port, "GET /v1/models?key=x&api_key=x HTTP/1.1\r\nHost: localhost\r\n") == 401


def raw(port: int, head: str) -> int:
    """The status of a request sent byte for byte."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(f"{head}Connection: close\r\n\r\n".encode())
        return int(connection.recv(4096).split(b" ")[1])


def test_a_key_in_the_address_opens_nothing(guarded: Guarded) -> None:
    for query in ("key", "api_key", "access_token", "token"):
        assert httpx.get(f"{guarded.base}/v1/models", params={query: guarded.operator}).status_code == 401


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['host']} {case.get('origin', '')}")
def test_host_by_origin(guarded: Guarded, case: dict[str, Any]) -> None:
    port = str(httpx.URL(guarded.base).port)
    headers = {"Host": case["host"].replace("P", port), "Authorization": f"Bearer {guarded.user}"}
    if "origin" in case:
        headers["Origin"] = case["origin"].replace("P", port)
    got = httpx.get(f"{guarded.base}/healthz", headers=headers)
    posted = httpx.post(f"{guarded.base}/chat", headers=headers, json={})
    asked = httpx.options(f"{guarded.base}/chat", headers=headers | {"Access-Control-Request-Method": "POST"})
    assert (got.status_code, posted.status_code) == (case["get"], case["post"])
    named = {answer.headers.get("access-control-allow-origin") for answer in (got, posted, asked)}
    assert named <= ({None, case.get("origin")} if case.get("allowed") else {None})
    assert all("access-control-allow-credentials" not in answer.headers for answer in (got, posted, asked))


def test_a_login_is_a_cookie_that_scripts_and_other_sites_cannot_use(guarded: Guarded) -> None:
    with httpx.Client(base_url=guarded.base) as client:
        assert client.get("/api/login").json() == {"needed": True, "name": None, "operator": False}
        assert client.post("/api/login", json={"key": "ec-wrong"}).status_code == 401
        answer = client.post("/api/login", json={"key": guarded.user})
        flags = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
        assert {"httponly", "samesite=strict", "path=/"} <= flags
        assert client.get("/api/login").json() == {"needed": False, "name": "user", "operator": False}
        assert client.get("/v1/models").status_code == 200
        cookie = dict(client.cookies)
        assert client.post("/api/logout", json={}).status_code == 204
        assert client.get("/v1/models").status_code == 401
        client.cookies.update(cookie)
        assert client.get("/v1/models").status_code == 401, "the old cookie is dead, not only forgotten"


def test_a_revoked_key_ends_its_logins(guarded: Guarded) -> None:
    _, secret = guarded.keys.add("brief", False, (), Limits())
    with httpx.Client(base_url=guarded.base) as client:
        client.post("/api/login", json={"key": secret})
        assert client.get("/v1/models").status_code == 200
        guarded.keys.revoke("brief")
        assert client.get("/v1/models").status_code == 401


def test_a_damaged_key_file_shuts_the_door(tmp_path: Path) -> None:
    (tmp_path / "fake.json").write_text("{}")
    with serving(tmp_path / "fake.json", tmp_path / "home") as base:
        assert httpx.get(f"{base}/v1/models").status_code == 200
        (tmp_path / "home" / "keys.json").write_text("{")
        assert httpx.get(f"{base}/v1/models").status_code == 503


@pytest.mark.parametrize("n", [1, 2])
def test_each_key_is_a_client_and_a_realm_of_its_own(guarded: Guarded, n: int) -> None:
    """The second time, a prompt is read from the cache, but only within the key that sent it."""
    body = {
        "messages": [{"role": "user", "content": f"{n} times a sentence that only one of them knows, " * 10}],
        "n": n,
    }

    def cached(key: str) -> int:
        answer = httpx.post(f"{guarded.base}/v1/chat/completions", json=body, headers={"x-api-key": key}, timeout=30)
        return int(answer.json()["edgechat"]["cached_tokens"])

    assert cached(guarded.user) < 10  # the template's own first words
    assert cached(guarded.user) > 100
    assert cached(guarded.other) < 10


def test_what_one_key_wrote_is_not_there_for_another(guarded: Guarded) -> None:
    """The same answer as for an id that nobody has, for every verb."""
    mine, theirs = ({"x-api-key": key} for key in (guarded.user, guarded.other))
    with httpx.Client(base_url=guarded.base, timeout=10) as client:
        run = client.post("/api/runs", json={"content": "a canary for one pair of eyes"}, headers=mine).json()
        ids = {"run": run["run_id"], "conversation": run["conversation_id"]}
        paths = [
            ("GET", "/api/conversations/{conversation}", None),
            ("PATCH", "/api/conversations/{conversation}", {"title": "taken", "version": 1}),
            ("DELETE", "/api/conversations/{conversation}", None),
            ("POST", "/api/conversations/{conversation}/restore", {}),
            ("GET", "/api/runs/{run}/events", None),
            ("DELETE", "/api/runs/{run}", None),
            ("POST", "/api/runs", {"conversation_id": "{conversation}", "content": "x"}),
            ("POST", "/api/runs", {"parent_id": run["message_id"], "content": "x"}),
        ]
        for method, path, body in paths:
            real, unknown = (
                client.request(
                    method,
                    path.format(**names),
                    headers=theirs | {"Content-Type": "application/json"},
                    content=None if body is None else json.dumps(body).replace("{conversation}", names["conversation"]),
                )
                for names in (ids, {"run": "none", "conversation": "none"})
            )
            assert real.status_code == unknown.status_code, (method, path, real.text, unknown.text)
            assert real.status_code in (400, 404), (method, path, real.text)
            assert "canary" not in real.text
        assert "canary" not in client.get("/api/conversations", params={"q": "canary"}, headers=theirs).text
        assert client.get(f"/api/conversations/{ids['conversation']}", headers=mine).status_code == 200
