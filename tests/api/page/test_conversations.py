import httpx

from tests.api.page.test_runs import begin, events

JSON = {"Content-Type": "application/json"}


def test_list_search_rename_pin(client: httpx.Client) -> None:
    started = begin(client, "如何写快速排序？")
    list(events(client, started["run_id"]))
    at = f"/api/conversations/{started['conversation_id']}"
    kept = client.get(at).json()
    assert set(kept) == {
        "id",
        "title",
        "version",
        "pinned",
        "created",
        "updated",
        "deleted",
        "snippet",
        "messages",
        "settings",
    }
    (found,) = client.get("/api/conversations", params={"q": "排序"}).json()["conversations"]
    assert {"t": "排序", "hit": True} in found["snippet"]
    changed = client.patch(at, json={"title": "排序", "pinned": True}).json()
    assert (changed["title"], changed["pinned"]) == ("排序", True)
    assert client.get("/api/conversations").json()["conversations"][0]["id"] == kept["id"]


def test_a_stale_change_is_refused_with_what_is_there(client: httpx.Client) -> None:
    started = begin(client, "stale?")
    list(events(client, started["run_id"]))
    at = f"/api/conversations/{started['conversation_id']}"
    current = client.patch(at, json={"title": "mine"}).json()
    refused = client.patch(at, json={"title": "yours", "version": current["version"] - 1})
    assert refused.status_code == 409
    assert refused.json()["error"]["code"] == "stale"
    assert refused.json()["current"] == current
    assert client.patch(at, json={"title": "ours", "version": current["version"]}).json()["title"] == "ours"
    wrong: list[dict[str, object]] = [{}, {"title": ""}, {"title": " "}, {"messages": []}, {"version": 1}]
    for body in wrong:
        assert client.patch(at, json=body).status_code == 400


def test_delete_undo_purge(client: httpx.Client) -> None:
    started = begin(client, "to be deleted")
    at = f"/api/conversations/{started['conversation_id']}"
    assert client.delete(at, headers=JSON).status_code == 204
    assert client.delete(at, headers=JSON).status_code == 404
    assert (
        client.post("/api/runs", json={"content": "x", "conversation_id": started["conversation_id"]}).status_code
        == 404
    )
    restored = client.post(f"{at}/restore", headers=JSON)
    assert restored.status_code == 200
    assert restored.json()["messages"][0]["content"] == "to be deleted"
    assert client.delete(f"{at}?purge=true", headers=JSON).status_code == 204
    assert client.get(at).status_code == 404


def test_a_message_goes_with_what_follows_and_comes_back(client: httpx.Client) -> None:
    first = begin(client, "one")
    list(events(client, first["run_id"]))
    more = client.post("/api/runs", json={"content": "two", "conversation_id": first["conversation_id"]}).json()
    list(events(client, more["run_id"]))
    at = f"/api/conversations/{first['conversation_id']}"
    left = client.delete(f"{at}/messages/{more['answer_id']}", headers=JSON).json()
    assert [message["id"] for message in left["messages"]] == [first["message_id"], first["answer_id"]]
    assert client.get(at).json() == left
    assert client.delete(f"{at}/messages/{more['answer_id']}", headers=JSON).status_code == 404
    (gone,) = client.get("/api/conversations/deleted-messages").json()["messages"]
    assert set(gone) == {"id", "conversation_id", "title", "snippet", "deleted"}
    assert (gone["id"], gone["conversation_id"]) == (more["message_id"], first["conversation_id"])
    assert gone["snippet"] == [{"t": "two", "hit": False}]
    whole = client.post(f"{at}/messages/{more['answer_id']}/restore", headers=JSON).json()
    assert [message["id"] for message in whole["messages"]][2:] == [more["message_id"], more["answer_id"]]
    assert client.get("/api/conversations/deleted-messages").json() == {"messages": []}
    assert client.post(f"{at}/messages/m-0/restore", headers=JSON).status_code == 404


def test_unknown_ids_and_cursors(client: httpx.Client) -> None:
    for verb, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/restore"), ("DELETE", "?purge=true")):
        answer = client.request(verb, f"/api/conversations/c-0{path}", json={"title": "x"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert client.get("/api/conversations?cursor=x").status_code == 400
    assert client.get("/api/conversations?limit=0").status_code == 400
