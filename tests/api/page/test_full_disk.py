"""The disk fills up while somebody reads an answer."""

import json
import time
from pathlib import Path

import httpx

from tests.api.conftest import serving
from tests.api.page.test_runs import LONG, begin, events, tree
from tests.disks import full, small_disk


def test_the_answer_goes_on_unsaved_and_is_saved_when_there_is_space(tmp_path: Path) -> None:
    (tmp_path / "fake.json").write_text(json.dumps({"reply": LONG, "step_ms": 5}))
    with (
        small_disk(tmp_path / "disk") as disk,
        serving(tmp_path / "fake.json", disk) as base,
        httpx.Client(base_url=base, timeout=30) as client,
    ):
        started = begin(client)
        told = events(client, started["run_id"])
        seen = [next(event for event in told if event[1] == "delta")]
        with full(disk):
            seen += told
            text = "".join(value["t"] for _, name, value in seen if name == "delta")
            assert text == LONG, "the reader gets all of it"
            assert "unsaved" in [name for _, name, _ in seen]
            assert seen[-1][2] == {"finish_reason": "stop", "saved": False}
            refused = client.post("/api/runs", json={"content": "more"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (507, "storage_full")
            assert client.get("/api/conversations").json()["conversations"][0]["id"] == started["conversation_id"]
            assert tree(client, started["conversation_id"])[1]["status"] == "running"
        deadline = time.monotonic() + 60
        while tree(client, started["conversation_id"])[1]["status"] == "running":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        answer = tree(client, started["conversation_id"])[1]
        assert (answer["status"], answer["content"]) == ("complete", LONG)
        assert begin(client, "more")
