"""What the operator sees of the answers under way, and may do about them."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.conftest import serving

SECRET = "the heron stands in the reeds"
TALE = " ".join(f"word{number}" for number in range(400))


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of a server that says one token in 50 ms, and much."""
    (tmp_path / "fake.json").write_text(json.dumps({"reply": TALE, "step_ms": 50}))
    kind = {"Content-Type": "application/json"}
    with (
        serving(tmp_path / "fake.json", tmp_path / "home") as base,
        httpx.Client(base_url=base, headers=kind, timeout=20) as client,
    ):
        yield client


def events(client: httpx.Client, until: Callable[[str, Any], bool]) -> list[tuple[str, Any]]:
    """What the dashboard is told, up to the event that is looked for."""
    found: list[tuple[str, Any]] = []
    name = ""
    with client.stream("GET", "/api/dash/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        deadline = time.monotonic() + 20
        for line in answer.iter_lines():
            assert time.monotonic() < deadline, found[-2:]
            name = line.removeprefix("event: ") if line.startswith("event: ") else name
            if line.startswith("data: "):
                found.append((name, json.loads(line.removeprefix("data: "))))
                if until(*found[-1]):
                    break
    return found


def ask(client: httpx.Client, said: list[str], **headers: str) -> threading.Thread:
    """Ask, and read the answer in a thread."""

    def read() -> None:
        body = {"messages": [{"role": "user", "content": SECRET}], "stream": True, "max_tokens": 400}
        with client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
            said.extend(line for line in answer.iter_lines() if line)

    thread = threading.Thread(target=read)
    thread.start()
    return thread


def answering(name: str, data: Any) -> bool:
    return name == "now" and any(one["phase"] == "writing" and one["said"] > 2 for one in data["requests"])


def titled(name: str, data: Any) -> bool:
    return name == "now" and any(one["client"] == "title" for one in data["requests"])


def test_an_idle_server_tells_a_figure_a_second(client: httpx.Client) -> None:
    told = events(client, lambda name, data: name == "sample" and not data["decode"])  # others asked just before
    assert [name for name, _ in told[:3]] == ["samples", "now", "sample"]
    now, sample = told[1][1], told[-1][1]
    assert (now["state"], now["requests"]) == ("ready", [])
    assert (sample["prefill"], sample["running"], sample["waiting"]) == (0, 0, 0)
    assert sample["rss"] > 10_000_000 < sample["free"]


def test_an_answer_is_seen_and_ended_and_its_reader_is_told(slow: httpx.Client) -> None:
    said: list[str] = []
    reader = ask(slow, said)
    now = events(slow, answering)[-1][1]
    (line,) = now["requests"]
    assert line["model"] and line["client"] == "127.0.0.1" and line["read"] == line["total"] > 0
    assert SECRET not in json.dumps(now)
    assert slow.delete(f"/api/dash/requests/{line['id']}").status_code == 204
    reader.join(20)
    assert not reader.is_alive()
    assert json.loads(said[-1].removeprefix("data: "))["error"]["code"] == "interrupted"
    after = events(slow, lambda name, data: name == "now" and not data["requests"])[-1][1]
    assert after["errors"][0]["code"] == "interrupted"
    assert slow.delete(f"/api/dash/requests/{line['id']}").status_code == 404


def test_only_the_server_s_own_titles_are_called_so(slow: httpx.Client) -> None:
    """An answer that nobody waits for is its client's as much as any other."""
    reader = ask(slow, [], **{"X-Edgechat-Priority": "background"})
    (line,) = events(slow, answering)[-1][1]["requests"]
    assert line["client"] == "127.0.0.1"
    slow.delete(f"/api/dash/requests/{line['id']}")
    reader.join(20)
    assert slow.post("/api/runs", json={"content": "hi", "params": {"max_tokens": 2}}).status_code == 201
    (line,) = events(slow, titled)[-1][1]["requests"]
    assert line["client"] == "title"


def test_an_answer_that_nobody_was_before_did_not_queue(tmp_path: Path) -> None:
    """However long its first token took: that is what it waits for on a slow machine."""
    (tmp_path / "fake.json").write_text(json.dumps({"reply": "Yes.", "step_ms": 1000}))
    with (
        serving(tmp_path / "fake.json", tmp_path / "home") as base,
        httpx.Client(base_url=base, timeout=30) as client,
    ):
        assert client.post("/chat", json={"input": "hi"}).status_code == 200
        sample = events(client, lambda name, data: name == "sample" and data["queued"] is not None)[-1][1]
    assert sample["queued"] < 1 <= sample["first"]


def test_speed_and_refusals_are_counted(slow: httpx.Client) -> None:
    refused = slow.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "x " * 9000}]})
    assert refused.status_code == 400
    reader = ask(slow, [])
    told = events(slow, lambda name, data: name == "sample" and data["decode"] > 0)
    assert told[-1][1]["running"] == 1
    now = events(slow, answering)[-1][1]
    assert [error["code"] for error in now["errors"]] == ["context_length_exceeded"]
    slow.delete(f"/api/dash/requests/{now['requests'][0]['id']}")
    reader.join(20)


def test_whoever_comes_later_gets_what_was_before(client: httpx.Client) -> None:
    before = events(client, lambda name, data: name == "sample")[-1][1]
    (name, samples) = events(client, lambda name, data: True)[0]
    assert name == "samples"
    assert before in samples[-3:]  # in their order, whatever the wall clock did
