import re

import httpx

from tests.api.page.test_conversations import JSON
from tests.api.page.test_runs import begin, events


def test_export_wipe_import_is_identical(client: httpx.Client) -> None:
    started = begin(client, "to take along")
    list(events(client, started["run_id"]))
    at = f"/api/conversations/{started['conversation_id']}"
    client.patch(at, json={"title": "Mine"})
    before = client.get(at).json()
    asked = client.get("/api/export", params={"conversation_id": before["id"]})
    assert re.fullmatch(
        r"attachment; filename\*=UTF-8''edgechat-[\w%-]+-\d{8}-\d{6}\.json", asked.headers["content-disposition"]
    )
    client.delete(f"{at}?purge=true", headers=JSON)
    taken = client.post("/api/import", json=asked.json()).json()
    assert taken == {"imported": 1, "skipped": 0, "conversation_ids": [before["id"]]}
    assert client.get(at).json() | {"version": 0} == before | {"version": 0}
    assert client.post("/api/import", json=asked.json()).json()["skipped"] == 1
    page = client.get("/api/export", params={"conversation_id": before["id"], "format": "md"})
    assert page.headers["content-type"] == "text/markdown; charset=utf-8"
    assert page.text.startswith("# Mine\n")
    assert client.get("/api/export").json()["format"] == "edgechat"


def test_what_cannot_be_imported_is_refused(client: httpx.Client) -> None:
    for document in ({}, [], [{"role": "robot", "content": "x"}], {"format": "edgechat", "version": 9}):
        answer = client.post("/api/import", json=document)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
    assert client.get("/api/export?conversation_id=c-0").status_code == 404
    assert client.get("/api/export?format=exe").status_code == 400


def test_presets_are_replaced_only_by_who_saw_them(client: httpx.Client) -> None:
    assert client.get("/api/presets").json() == {"version": 0, "presets": []}
    mine = {"version": 0, "presets": [{"name": "简短", "text": "Be brief."}]}
    assert client.put("/api/presets", json=mine).json() == mine | {"version": 1}
    late = client.put("/api/presets", json={"version": 0, "presets": []})
    assert late.status_code == 409
    assert late.json()["current"] == {"version": 1, "body": mine["presets"]}
    assert client.get("/api/presets").json() == mine | {"version": 1}
    assert client.put("/api/presets", json={"version": 1, "presets": [{"name": ""}]}).status_code == 400
