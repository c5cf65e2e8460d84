"""Reasons in the page's language: where the page asks, and nowhere else."""

from pathlib import Path

import httpx
import pytest

from tests.api.conftest import serving

ZH = {"Accept-Language": "zh-CN"}


def said(answer: httpx.Response) -> str:
    problem = answer.json()["error"]
    return str(problem["message"] if isinstance(problem, dict) else problem)


def test_the_page_s_routes_answer_in_its_language(client: httpx.Client) -> None:
    there = "/api/conversations/c-none"
    assert said(client.get(there, headers=ZH)) == "没有对话 'c-none'。"
    assert (
        said(client.get(there, headers={"Accept-Language": "en-GB,zh;q=0.5"})) == "there is no conversation 'c-none'."
    )
    assert said(client.get(there)) == "there is no conversation 'c-none'."
    assert client.get(there, headers=ZH).json()["error"]["code"] == "not_found"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/api/chat"])
def test_programs_read_english_whatever_their_browser_says(client: httpx.Client, path: str) -> None:
    asked = {"model": "none", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
    assert said(client.post(path, json=asked, headers=ZH)).startswith("no model 'none' is here;")


def test_a_door_refuses_in_it_too(client: httpx.Client) -> None:
    refused = client.put("/api/dash/state", content="x", headers=ZH | {"Content-Type": "text/plain"})
    assert refused.status_code == 415
    assert said(client.get("/v1/models", headers=ZH | {"Host": "elsewhere.example"})).isascii()


def test_readiness_gives_its_reason_in_it(tmp_path: Path) -> None:
    with serving(tmp_path / "gone.gguf", tmp_path / "home") as base:
        for path in ("/readyz", "/api/status", "/api/dash/status"):
            told = httpx.get(f"{base}{path}", headers=ZH).json()
            assert "处没有模型文件" in told["why"], path
            assert "there is no model file" in httpx.get(f"{base}{path}").json()["why"]


def test_an_answer_s_end_is_told_in_it(client: httpx.Client) -> None:
    started = client.post("/api/runs", json={"content": "x" * 100_000}).json()
    where = f"/api/runs/{started['run_id']}/events"
    assert "上下文连同回答只有" in client.get(where, headers=ZH).text
    assert "this model's context here is" in client.get(where).text
