import re

import httpx
import pytest

from edgechat.api.doors.request_id import request_id


@pytest.mark.parametrize("path", ["/healthz", "/v1/models", "/nowhere", "/v1/messages"])
def test_every_answer_has_an_id_and_keeps_the_clients(client: httpx.Client, path: str) -> None:
    first, second = client.get(path), client.get(path)
    assert re.fullmatch(r"req_[0-9a-f]{32}", first.headers["x-request-id"])
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert client.get(path, headers={"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"


def test_refusals_have_one_too(client: httpx.Client) -> None:
    refused = client.get("/v1/models", headers={"Host": "evil.example", "X-Request-Id": "mine"})
    assert (refused.status_code, refused.headers["x-request-id"]) == (403, "mine")


def test_anthropics_clients_find_theirs(client: httpx.Client) -> None:
    answer = client.get("/v1/messages", headers={"X-Request-Id": "mine"})
    assert answer.headers["request-id"] == answer.headers["x-request-id"] == "mine"
    assert "request-id" not in client.get("/healthz").headers


@pytest.mark.parametrize("given", [b"", b"a b", b"a" * 129, b"x\x1b[31m", b"\xff", b"a\nb", b"{}"])
def test_what_is_not_fit_for_a_log_is_replaced(given: bytes) -> None:
    assert request_id(given).startswith("req_")
