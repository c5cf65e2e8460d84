"""Who may come in: every rule, pure, then once over a real socket."""

import socket
from pathlib import Path

import httpx
import pytest

from edgechat.api.doors.guard import refusal
from edgechat.api.routes import MAX_BODY, Facts, Need
from tests.api.conftest import serving
from tests.conftest import FakeModel

HOST = ("host", "127.0.0.1:8080")
JSON = ("content-type", "application/json")


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "LOCALHOST", "[::1]:8080", "[::1]", "127.0.0.1"])
def test_names_of_this_machine_come_in(host: str) -> None:
    assert refusal("GET", [("host", host)]) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.nip.io",
        "foo.internal",
        "localhost.evil.com",
        "evil-localhost",
        "x/health?y=",
        "foo?",
        "a#b",
        "a\\b",
        "localhost@evil",
        "127.0.0.1:80:80",
        "127.0.0.1:x",
        "",
        "::1",
        "localhost.",
    ],
)
def test_other_names_stay_out(host: str) -> None:
    refused = refusal("GET", [("host", host)])
    assert refused is not None
    assert refused.status == 403


def test_one_host_exactly() -> None:
    for headers in ([], [HOST, HOST]):
        refused = refusal("GET", headers)
        assert refused is not None
        assert refused.status == 400


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (("origin", "https://evil.example"), 403),
        (("origin", "null"), 403),
        (("origin", "http://localhost:8080"), 403),  # another name than the one asked for
        (("origin", "http://127.0.0.1:9999"), 403),
        (("origin", "file://127.0.0.1:8080"), 403),
        (("sec-fetch-site", "cross-site"), 403),
        (("sec-fetch-site", "same-site"), 403),
        (("content-encoding", "gzip"), 415),
        (("content-length", str(MAX_BODY + 1)), 413),
        (("content-length", "9" * 5000), 413),
        (("content-length", "-1"), 413),
    ],
)
@pytest.mark.parametrize("method", ["POST", "DELETE", "PATCH", "PUT", "FROB"])
def test_state_changes_from_elsewhere_stay_out(method: str, header: tuple[str, str], status: int) -> None:
    refused = refusal(method, [HOST, JSON, header])
    assert refused is not None
    assert refused.status == status


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_state_changes_come_as_json(kind: str) -> None:
    refused = refusal("POST", [HOST, ("content-type", kind)])
    assert refused is not None
    assert refused.status == 415


@pytest.mark.parametrize("coding", ["identity", "Identity", " "])
def test_a_coding_that_is_none_comes_in(coding: str) -> None:
    assert refusal("POST", [HOST, JSON, ("content-encoding", coding)]) is None


def test_a_body_whose_end_two_readers_see_elsewhere_is_refused_and_nothing_after_it_read(echo: str) -> None:
    host, port = echo.removeprefix("http://").split(":")
    body = b'{"messages":[{"role":"user","content":"hi"}]}'
    smuggled = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=20) as sock:
        sock.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n"
            + f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n" + smuggled
        )  # fmt: skip
        said = b"".join(iter(lambda: sock.recv(65536), b""))
    assert said.startswith(b"HTTP/1.1 400 ")
    assert said.count(b"HTTP/1.1 ") == 1


def test_a_route_may_take_other_kinds_and_more_of_them() -> None:
    facts = Facts(Need.KEY, max_body=10 * MAX_BODY, kinds=frozenset({"image/png"}))
    head = [HOST, ("content-type", "image/png"), ("content-length", str(10 * MAX_BODY))]
    assert refusal("PUT", head, facts=facts) is None
    assert refusal("PUT", head) is not None
    for header in (JSON, ("content-length", str(10 * MAX_BODY + 1))):
        assert refusal("PUT", [*head, header], facts=facts) is not None


def test_a_method_without_a_body_needs_no_type_of_one(client: httpx.Client) -> None:
    for method in ("PUT", "DELETE", "PATCH"):
        answer = client.request(method, "/v1/chat/completions")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert client.request(method, "/tokenize", content=b"x").status_code == 415


def test_the_page_itself_comes_in() -> None:
    own = [HOST, ("content-type", "application/json; charset=utf-8"), ("origin", "http://127.0.0.1:8080")]
    assert refusal("POST", [*own, ("sec-fetch-site", "same-origin"), ("content-length", str(MAX_BODY))]) is None


def test_over_a_socket(client: httpx.Client) -> None:
    assert client.get("/healthz", headers={"Host": "evil.example"}).status_code == 403
    assert client.post("/chat", content=b'{"input":"x"}', headers={"Content-Type": "text/plain"}).status_code == 415
    assert "access-control-allow-origin" not in client.options("/chat", headers={"Origin": "https://evil"}).headers


def test_an_endless_chunked_body_is_cut_off(client: httpx.Client) -> None:
    """The length is not announced; the server stops reading at the limit."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=10) as raw:
        head = "POST /chat HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        raw.sendall((head + "Transfer-Encoding: chunked\r\n\r\n").encode())
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        try:
            for _ in range(MAX_BODY // 65536 + 20):
                raw.sendall(chunk)
        except (BrokenPipeError, ConnectionResetError):
            return
        assert b" 413 " in raw.recv(4096).split(b"\r\n")[0]


def test_a_file_to_import_may_be_larger_than_other_bodies(client: httpx.Client) -> None:
    document = {"messages": [{"role": "user", "content": "x" * (5 << 20)}]}
    assert client.post("/api/import", json=document).json()["imported"] == 1
    assert client.post("/api/runs", json={"content": "x" * (5 << 20)}).status_code == 413


@pytest.mark.parametrize("origin", ["app://obsidian.md", "chrome-extension://abc", "https://app.example"])
def test_a_refusal_can_be_read_by_a_page_that_may_ask(fake_model: FakeModel, tmp_path: Path, origin: str) -> None:
    """Without the headers of CORS it would see a network error."""
    with (
        serving(fake_model(), tmp_path / "home", cors_origins=(origin,)) as base,
        httpx.Client(base_url=base) as client,
    ):
        page = {"Origin": origin}
        wanted = "x-stainless-os, anthropic-version, anthropic-dangerous-direct-browser-access"
        asks = {**page, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": wanted}
        preflight = client.options("/v1/messages", headers=asks)
        assert preflight.status_code == 200
        assert "x-stainless-os" in preflight.headers["access-control-allow-headers"]
        hi = {"messages": [{"role": "user", "content": "hi"}], "new": 1}
        refused = [
            client.post("/v1/chat/completions", content=b"hello", headers={**page, "Content-Type": "text/plain"}),
            client.post("/v1/chat/completions", content=b"{}", headers={**page, "Content-Encoding": "gzip"}),
            client.post("/v1/chat/completions", json={}, headers=page),
            client.get("/v1/nothing", headers=page),
            client.post("/v1/chat/completions", json=hi, headers={**page, "Host": "evil.example"}),
        ]
        assert [one.status_code for one in refused] == [415, 415, 400, 404, 403]
        for one in (client.post("/v1/chat/completions", json=hi, headers=page), *refused):
            assert one.headers["access-control-allow-origin"] == origin
            assert "X-Edgechat-Ignored" in one.headers["access-control-expose-headers"]
        other = client.post("/v1/chat/completions", json=hi, headers={"Origin": "https://evil.example"})
        assert (other.status_code, "access-control-allow-origin" in other.headers) == (403, False)
