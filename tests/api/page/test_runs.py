"""Runs over a real socket: stored before they are acknowledged, read by anyone, ended only by a stop."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from edgechat.api.page.runs import OwnSettings
from edgechat.history.records import Settings
from tests.api.conftest import serving

LONG = "".join(f"第{number}个字，" for number in range(60))  # that is no loop
Event = tuple[int, str, dict[str, Any]]


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a server that answers LONG in about two seconds, `quick` at once, and titles with `A title`."""
    folder = tmp_path_factory.mktemp("slow")
    titles = {"Write a title of at most six words for this conversation. Only the title, nothing else.": "A title"}
    script = {"replies": {"quick": "Done.", **titles}, "reply": LONG, "step_ms": 2}
    (folder / "fake.json").write_text(json.dumps(script))
    with serving(folder / "fake.json", folder / "home") as base, httpx.Client(base_url=base, timeout=30) as client:
        yield client


def begin(client: httpx.Client, content: str | None = "tell me", key: str | None = None, **more: Any) -> dict[str, str]:
    headers = {"Idempotency-Key": key} if key else {}
    body = more if content is None else {"content": content, **more}
    answer = client.post("/api/runs", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


def events(client: httpx.Client, run_id: str, after: int = 0) -> Iterator[Event]:
    """The numbered events of a run, to its end."""
    headers = {"Last-Event-ID": str(after)} if after else {}
    with client.stream("GET", f"/api/runs/{run_id}/events", headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        number, name = 0, ""
        for line in answer.iter_lines():
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "id":
                number = int(value)
            elif field == "data":
                yield number, name, json.loads(value)


def text_of(told: list[Event]) -> str:
    return "".join(value["t"] for _, name, value in told if name == "delta")


def tree(client: httpx.Client, id: str) -> list[dict[str, Any]]:
    return client.get(f"/api/conversations/{id}").json()["messages"]  # type: ignore[no-any-return]


def test_a_run_is_told_and_kept(slow: httpx.Client) -> None:
    started = begin(slow, "quick")
    told = list(events(slow, started["run_id"]))
    names = [name for _, name, _ in told]
    assert names[-2:] == ["usage", "done"]
    assert [number for number, _, _ in told] == sorted({number for number, _, _ in told})
    assert text_of(told) == "Done."
    usage = told[-2][2]
    assert usage["completion"] >= len("Done.")
    assert usage["ctx_used"] == usage["prompt"] + usage["completion"] < usage["ctx_max"]
    assert usage["ttft_ms"] > 0
    assert told[-1][2] == {"finish_reason": "stop", "saved": True}
    question, answer = tree(slow, started["conversation_id"])
    assert (question["id"], answer["id"]) == (started["message_id"], started["answer_id"])
    model = slow.get("/readyz").json()["model"]
    assert (answer["status"], answer["content"], answer["model"]) == ("complete", "Done.", model)
    assert answer["usage"] == usage


def test_the_model_finds_the_title(slow: httpx.Client) -> None:
    id = begin(slow, "quick")["conversation_id"]
    deadline = time.monotonic() + 20
    while slow.get(f"/api/conversations/{id}").json()["title"] != "A title":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_reader_comes_back_and_misses_nothing(slow: httpx.Client) -> None:
    run_id = begin(slow)["run_id"]
    first: list[Event] = []
    for event in events(slow, run_id):
        first.append(event)
        if len(text_of(first)) > 5:
            break  # the connection is closed; the run goes on
    rest = list(events(slow, run_id, after=first[-1][0]))
    assert text_of(first) + text_of(rest) == LONG
    assert text_of(list(events(slow, run_id))) == LONG
    assert slow.get(f"/api/runs/{run_id}/events", headers={"Last-Event-ID": "x"}).status_code == 400


def test_several_readers_get_the_same(slow: httpx.Client) -> None:
    run_id = begin(slow)["run_id"]
    texts: list[str] = []

    def read() -> None:
        with httpx.Client(base_url=slow.base_url, timeout=30) as client:
            texts.append(text_of(list(events(client, run_id))))

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert texts == [LONG] * 4


def test_only_a_stop_ends_a_run_and_keeps_what_it_has(slow: httpx.Client) -> None:
    started = begin(slow)
    told: list[Event] = []
    for event in events(slow, started["run_id"]):
        told.append(event)
        if event[1] == "delta" and len(told) == 6:
            assert slow.delete(
                f"/api/runs/{started['run_id']}", headers={"Content-Type": "application/json"}
            ).is_success
    assert told[-1][2] == {"finish_reason": "stopped", "saved": True}
    _, answer = tree(slow, started["conversation_id"])
    assert (answer["status"], answer["finish_reason"]) == ("stopped", "stopped")
    assert answer["content"] == text_of(told) != LONG
    again = slow.delete(f"/api/runs/{started['run_id']}", headers={"Content-Type": "application/json"})
    assert again.status_code == 204, "stopping what has ended is no mistake"


def test_a_stopped_answer_has_figures_and_goes_on_where_it_ended(tmp_path: Path) -> None:
    (tmp_path / "fake.json").write_text(json.dumps({"reply": LONG, "step_ms": 2}))
    with serving(tmp_path / "fake.json", tmp_path / "home") as base, httpx.Client(base_url=base, timeout=30) as client:
        started = begin(client)
        first = []
        for event in events(client, started["run_id"]):
            first.append(event)
            if len(text_of(first)) > 20 and first[-1][1] == "delta":
                client.delete(f"/api/runs/{started['run_id']}", headers={"Content-Type": "application/json"})
        assert [name for _, name, _ in first[-2:]] == ["usage", "done"]
        usage, text = first[-2][2], text_of(first)
        assert usage["completion"] == len(text.encode()), "a token of the fake is a byte"
        assert usage["ctx_used"] == usage["prompt"] + usage["completion"]
        assert usage["tps"] > 0
        assert usage["dropped"] is None
        id, answer_id = started["conversation_id"], started["answer_id"]
        assert tree(client, id)[1]["usage"] == usage
        again = begin(client, None, conversation_id=id, continues=answer_id)
        assert again == started | {"run_id": again["run_id"]}
        more = list(events(client, again["run_id"]))
        assert more[0][1:] == ("snapshot", {"content": text, "reasoning": ""})
        _, answer = tree(client, id)
        assert (answer["status"], answer["content"]) == ("complete", text + text_of(more))
        whole = more[-2][2]
        assert whole["prompt"] == usage["ctx_used"]
        assert whole["completion"] - usage["completion"] >= len(text_of(more).encode())
        assert whole["ttft_ms"] == usage["ttft_ms"]
        for body in ({"content": "x"}, {"parent_id": started["message_id"]}, {"conversation_id": None}):
            asked = {"conversation_id": id, "continues": answer_id, **body}
            assert client.post("/api/runs", json=asked).status_code == 400


def test_a_second_message_waits_for_the_first_answer(slow: httpx.Client) -> None:
    first = begin(slow)
    second = begin(slow, "quick", conversation_id=first["conversation_id"])
    told = list(events(slow, second["run_id"]))
    assert ("queued", 1) in [(name, value.get("position")) for _, name, value in told]
    nodes = tree(slow, first["conversation_id"])
    assert [node["status"] for node in nodes] == ["complete"] * 4
    assert nodes[2]["parent_id"] == first["answer_id"]
    usage = told[-2][2]
    assert usage["prompt"] > len(LONG.encode()), "the first answer is part of the second's prompt"


def test_an_edit_and_a_second_answer_are_branches(slow: httpx.Client) -> None:
    first = begin(slow, "quick")
    id = first["conversation_id"]
    edited = begin(slow, "quick", conversation_id=id, parent_id=None)
    again = begin(slow, None, conversation_id=id, parent_id=first["message_id"])
    list(events(slow, again["run_id"]))
    parents = {node["id"]: node["parent_id"] for node in tree(slow, id)}
    assert parents[edited["message_id"]] is None
    assert parents[again["answer_id"]] == first["message_id"] == again["message_id"]


def test_a_retried_turn_is_one_turn(slow: httpx.Client) -> None:
    first = begin(slow, "quick", key="turn-1")
    assert begin(slow, "quick", key="turn-1") == first
    list(events(slow, first["run_id"]))
    assert begin(slow, "quick", key="turn-1") == first
    refused = slow.post("/api/runs", json={"content": "other"}, headers={"Idempotency-Key": "turn-1"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert len(tree(slow, first["conversation_id"])) == 2


def test_params_are_honoured_or_refused(slow: httpx.Client) -> None:
    started = begin(slow, "tell me", params={"max_tokens": 4, "system": "Be brief.", "temperature": 0})
    told = list(events(slow, started["run_id"]))
    assert told[-1][2]["finish_reason"] == "length"
    _, answer = tree(slow, started["conversation_id"])
    assert answer["params"] == {"max_tokens": 4, "system": "Be brief.", "temperature": 0}
    for params in ({"max_tokens": 0}, {"n": 2}, {"temperature": "hot"}):
        assert slow.post("/api/runs", json={"content": "x", "params": params}).status_code == 400
    wrong = begin(slow, "x", model="no-such-model")
    assert list(events(slow, wrong["run_id"]))[-1][1:] == (
        "error",
        {
            "code": "model_not_found",
            "message": f"no model 'no-such-model' is here; there is {answer['model']}.",
            "retryable": False,
            "retry_after_s": None,
            "saved": True,
        },
    )


def test_runs_that_are_not_there(slow: httpx.Client) -> None:
    assert slow.get("/api/runs/r-0/events").status_code == 404
    assert slow.delete("/api/runs/r-0", headers={"Content-Type": "application/json"}).status_code == 404
    assert slow.post("/api/runs", json={"content": "x", "conversation_id": "c-0"}).status_code == 404
    for body in ({}, {"content": ""}, {"content": "x", "messages": []}):
        assert slow.post("/api/runs", json=body).status_code == 400


def test_a_message_may_come_before_the_model(tmp_path: Path) -> None:
    (tmp_path / "fake.json").write_text(json.dumps({"load_ms": 800}))
    with serving(tmp_path / "fake.json", tmp_path / "home", ready=False) as base, httpx.Client(base_url=base) as client:
        told = list(events(client, begin(client, "early")["run_id"]))
        assert "loading" in [name for _, name, _ in told]
        assert text_of(told) == "You said: early"


def test_a_server_that_ends_interrupts_and_the_next_one_tells(tmp_path: Path) -> None:
    (tmp_path / "fake.json").write_text(json.dumps({"reply": LONG, "step_ms": 20}))
    with serving(tmp_path / "fake.json", tmp_path / "home") as base, httpx.Client(base_url=base) as client:
        started = begin(client)
        seen = ""
        for _, name, value in events(client, started["run_id"]):
            seen += value["t"] if name == "delta" else ""
            if len(seen) > 10:
                break
    with serving(tmp_path / "fake.json", tmp_path / "home") as base, httpx.Client(base_url=base) as client:
        _, answer = tree(client, started["conversation_id"])
        assert answer["status"] == "interrupted"
        assert answer["content"].startswith(seen)
        told = list(events(client, started["run_id"]))
        assert told[0] == (0, "snapshot", {"content": answer["content"], "reasoning": ""})
        assert told[-1][1] == "error"
        assert told[-1][2]["retryable"]


def test_a_conversation_has_settings_of_its_own(client: httpx.Client) -> None:
    own = {"system": "Be brief.", "temperature": 0.2}
    started = begin(client, settings=own)
    id = started["conversation_id"]
    list(events(client, started["run_id"]))
    again = begin(client, None, conversation_id=id, parent_id=started["message_id"])
    list(events(client, again["run_id"]))
    kept = client.get(f"/api/conversations/{id}").json()
    assert kept["settings"] == own
    assert [node["params"] for node in kept["messages"] if node["role"] == "assistant"] == [own, own]
    changed = client.patch(f"/api/conversations/{id}", json={"settings": {"top_k": 5}})
    assert changed.json()["settings"] == {"top_k": 5}
    assert client.patch(f"/api/conversations/{id}", json={"settings": None}).json()["settings"] is None
    for wrong in ({"temperature": 9}, {"name": "x"}, {"stop": "x"}):
        assert client.patch(f"/api/conversations/{id}", json={"settings": wrong}).status_code == 400
    assert client.post("/api/runs", json={"content": "x", "conversation_id": id, "settings": own}).status_code == 400


def test_a_conversation_reads_no_more_than_its_own_context(client: httpx.Client) -> None:
    """The oldest turns are left out, as where the model's is full; the meter shows what it has."""
    started = begin(client, "one two three", settings={"context": 256})
    id = started["conversation_id"]
    used = []
    for _ in range(12):
        used.append(next(data for _, event, data in events(client, started["run_id"]) if event == "usage"))
        started = begin(client, "one two three", conversation_id=id)
    assert {one["ctx_max"] for one in used} == {256}
    assert all(one["ctx_used"] <= 256 for one in used)
    assert used[0]["dropped"] == 0 < used[-1]["dropped"]
    too_long = begin(client, "word " * 400, conversation_id=id)
    error = next(data for _, event, data in events(client, too_long["run_id"]) if event == "error")
    assert error["code"] == "context_length_exceeded"
    assert "its own context is 256" in error["message"]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("temperature", [-0.1, 0, 2, 2.1]), ("top_p", [-0.1, 0, 1, 1.1]), ("top_k", [0, (1 << 20) - 1, 1 << 20]),
        ("min_p", [-0.1, 0, 1, 1.1]), ("repetition_penalty", [0, 0.1, 10, 11]),
        ("frequency_penalty", [-2.1, -2, 2, 2.1]),
        ("presence_penalty", [-2.1, -2, 2, 2.1]), ("seed", [-(1 << 63) - 1, -(1 << 63), (1 << 63) - 1, 1 << 63]),
        ("max_tokens", [0, 1, (1 << 31) - 1, 1 << 31]), ("context", [255, 256, (1 << 31) - 1, 1 << 31]),
        ("stop", [[], ["x"], [""], ["x" * 256], ["x" * 257], ["x"] * 33]),
        ("thinking", [True, False, 1]), ("system", ["", "x"]),
    ],
)  # fmt: skip
def test_the_store_takes_of_files_what_a_run_takes(name: str, values: list[Any]) -> None:
    def is_taken(take: Callable[[], Any]) -> bool:
        try:
            take()
        except ValueError:  # pydantic's and msgspec's
            return False
        return True

    for value in values:
        mine = is_taken(partial(msgspec.convert, {name: value}, Settings))
        assert mine == is_taken(partial(OwnSettings.model_validate, {name: value})), value
