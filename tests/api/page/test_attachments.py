"""What a message will hold is uploaded first: bounded, recognized by its bytes, kept apart, and harmless to look at."""

import base64
import hashlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgechat.api.page.attachments import MOST
from edgechat.keys import Keys
from edgechat.types import Limits
from tests.api.conftest import serving
from tests.api.page.test_conversations import JSON
from tests.api.page.test_runs import begin, events
from tests.disks import full, small_disk
from tests.pictures import drawn, encoded

AT = "/api/attachments"
RAW = {"Content-Type": "application/octet-stream"}
FILES = {
    "image/png": b"\x89PNG\r\n\x1a\n" + bytes(20),
    "image/jpeg": b"\xff\xd8\xff\xe0" + bytes(20),
    "image/webp": b"RIFF\x10\0\0\0WEBPVP8 " + bytes(20),
    "image/gif": b"GIF89a" + bytes(20),
    "image/bmp": b"BM" + bytes(12) + b"\x28\0\0\0" + bytes(20),
    "audio/wav": b"RIFF\x10\0\0\0WAVEfmt " + bytes(20),
    "audio/mpeg": b"ID3\x04" + bytes(20),
    "audio/flac": b"fLaC" + bytes(20),
    "application/pdf": b"%PDF-1.7\n" + bytes(20),
}
PICTURE = FILES["image/png"]
KINDS = {"image": "picture", "audio": "sound", "application": "document"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "fake.json").write_text("{}")
    return tmp_path / "home"


@pytest.fixture
def own(home: Path) -> Iterator[httpx.Client]:
    """A client of a server of its own."""
    with serving(home.parent / "fake.json", home) as base, httpx.Client(base_url=base, timeout=30) as client:
        yield client


def upload(client: httpx.Client, content: bytes = PICTURE, credential: dict[str, str] | None = None) -> str:
    answer = client.put(AT, content=content, headers=RAW | (credential or {}))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["sha256"])


def files(home: Path) -> list[Path]:
    return list((home / "history" / "attachments").glob("*"))


def holding(content: bytes, sha256: str | None = None) -> dict[str, Any]:
    """A file with a conversation whose question holds `content`."""
    sha256 = sha256 or hashlib.sha256(content).hexdigest()
    node = {
        "id": f"m-{sha256[:8]}",
        "seq": 1,
        "parent_id": None,
        "role": "user",
        "content": "What is it?",
        "status": "complete",
        "created": 1,
        "attachments": [{"sha256": sha256, "kind": "picture", "media_type": "image/png"}],
    }
    one = {"id": f"c-{sha256[:8]}", "title": "t", "version": 1, "pinned": False, "created": 1, "updated": 1}
    enclosed = {"sha256": sha256, "bytes": base64.b64encode(content).decode()}
    whole = [one | {"messages": [node]}]
    return {"format": "edgechat", "version": 2, "exported": "", "conversations": whole, "attachments": [enclosed]}


@pytest.mark.parametrize("media_type", FILES)
def test_what_is_uploaded_is_recognized_and_comes_back_harmless(client: httpx.Client, media_type: str) -> None:
    content, kind = FILES[media_type], KINDS[media_type.partition("/")[0]]
    sha256 = hashlib.sha256(content).hexdigest()
    answer = client.put(AT, content=content, headers=RAW)
    unknown = dict.fromkeys(("width", "height", "seconds", "tokens"))
    assert (answer.status_code, answer.json()) == (200, {"sha256": sha256, "kind": kind, **unknown})
    assert client.put(AT, content=content, headers={"Content-Type": media_type}).json() == answer.json()
    back = client.get(f"{AT}/{sha256}")
    assert (back.status_code, back.content, back.headers["content-type"]) == (200, content, media_type)
    assert back.headers["x-content-type-options"] == "nosniff"
    assert back.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert back.headers["cross-origin-resource-policy"] == "same-origin"
    assert back.headers["cache-control"] == "no-store"
    shown = back.headers["content-disposition"]
    assert shown.startswith(f'{"inline" if kind == "picture" else "attachment"}; filename="{sha256[:12]}.')


def test_what_it_takes_is_told_before_it_is_asked_about(home: Path) -> None:
    model = home.parent / "fake.json"
    model.write_text('{"senses": ["picture"]}')
    with serving(model, home) as base, httpx.Client(base_url=base, timeout=30) as own:
        size = {"width": 640, "height": 480, "seconds": None}
        content = encoded(drawn((640, 480)), "JPEG")
        told = {"sha256": hashlib.sha256(content).hexdigest(), "kind": "picture", **size}
        for query in ({}, {"model": "fake.json"}, {"name": "a.jpg"}):
            assert own.put(AT, content=content, headers=RAW, params=query).json() == told | {"tokens": 302}
        for larger, tokens in (((1152, 864), 974), ((1153, 864), 496), ((4000, 3000), 496)):
            assert own.put(AT, content=encoded(drawn(larger), "JPEG"), headers=RAW).json()["tokens"] == tokens
        nobody = own.put(AT, content=content, headers=RAW, params={"model": "nobody"})
        assert nobody.json() == told | {"tokens": None}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        b"<!doctype html><script>alert(1)</script>",
        b"MZ\x90\0",
        b"BM and a few words more than that are no picture",
        b"RIFF\x10\0\0\0AVI LIST",
    ],
)
def test_what_nobody_knows_is_not_taken_whatever_it_is_called(own: httpx.Client, home: Path, content: bytes) -> None:
    refused = own.put(AT, content=content, headers={"Content-Type": "image/png"})
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (400, "invalid_request")
    assert " of image/png, " in error["message"]
    assert files(home) == []


def test_it_comes_in_by_its_own_door(client: httpx.Client) -> None:
    for kind in ("text/html", "text/plain", "multipart/form-data", "image/svg+xml", ""):
        refused = client.put(AT, content=PICTURE, headers={"Content-Type": kind})
        assert refused.status_code == 415, kind
        assert "application/octet-stream" in refused.json()["error"]["message"]
    assert client.put(AT, content=PICTURE, headers=RAW | {"Origin": "https://evil.example"}).status_code == 403
    large = client.put(AT, content=b"\x89PNG\r\n\x1a\n" + bytes(5 << 20), headers=RAW)
    assert large.status_code == 200, "larger than any other body may be"
    assert client.post("/chat", content=b"{}", headers=RAW).status_code == 415, "no other route takes bytes"


@pytest.mark.parametrize("announced", [True, False])
def test_it_is_bounded(own: httpx.Client, home: Path, announced: bool) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(MOST // (1 << 20)):
            yield bytes(1 << 20)
        yield b"x"

    content = b"".join(pieces()) if announced else pieces()
    try:
        refused = own.put(AT, content=content, headers=RAW)
        assert (refused.status_code, refused.json()["error"]["code"]) == (413, "request_entity_too_large")
    except httpx.WriteError:
        assert announced, "refused before it was read"
    assert files(home) == []


def test_whoever_leaves_in_the_middle_leaves_nothing(own: httpx.Client, home: Path) -> None:
    address = (own.base_url.host, own.base_url.port)
    head = f"PUT {AT} HTTP/1.1\r\nHost: 127.0.0.1:{address[1]}\r\nContent-Type: image/png\r\nContent-Length: 999999\r\n"
    with socket.create_connection(address) as line:
        line.sendall(f"{head}\r\n".encode() + PICTURE + bytes(200_000))
        deadline = time.monotonic() + 10
        while not files(home):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    while files(home):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_realm_sees_its_own_only(home: Path) -> None:
    keys = Keys(home / "keys.json")
    ann, bob = ({"X-Api-Key": keys.add(name, False, (), Limits())[1]} for name in ("ann", "bob"))
    with serving(home.parent / "fake.json", home) as base, httpx.Client(base_url=base, timeout=30) as client:
        assert client.put(AT, content=PICTURE, headers=RAW).status_code == 401
        sha256 = upload(client, credential=ann)
        assert client.get(f"{AT}/{sha256}", headers=ann).content == PICTURE
        assert client.get(f"{AT}/{sha256}").status_code == 401
        theirs = client.get(f"{AT}/{sha256}", headers=bob)
        nobodys = client.get(f"{AT}/{'0' * 64}", headers=bob)
        assert (theirs.status_code, theirs.json()["error"]["code"]) == (404, "not_found")
        assert theirs.text.replace(sha256, "") == nobodys.text.replace("0" * 64, ""), "and cannot tell it from none"
        assert upload(client, credential=bob) == sha256
        assert len(files(home)) == 2


def test_a_run_says_that_no_model_takes_it(client: httpx.Client) -> None:
    sha256 = upload(client)
    before = client.get("/api/conversations").json()["conversations"]
    refused = client.post("/api/runs", json={"content": "What is it?", "attachments": [sha256]})
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (400, "unsupported_media", "attachments")
    assert error["message"] == "an image/png cannot be read: no model here takes pictures."
    assert client.get("/api/conversations").json()["conversations"] == before, "nothing is stored"
    for wrong in (["x"], [sha256.upper()], [1], "x", [sha256] * 17, None):
        refused = client.post("/api/runs", json={"content": "hi", "attachments": wrong})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_request")
    assert begin(client, "hi", attachments=[])
    for empty in ({"content": ""}, {"content": None, "attachments": [sha256]}):
        refused = client.post("/api/runs", json=empty)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_request")


@pytest.mark.parametrize("words", ["What is it?", ""])
def test_a_model_that_sees_answers_what_it_is_shown(home: Path, words: str) -> None:
    (home.parent / "fake.json").write_text('{"senses": ["picture"], "reply": "I see."}')
    with serving(home.parent / "fake.json", home) as base, httpx.Client(base_url=base, timeout=30) as client:
        sha256 = upload(client, encoded(drawn(), "PNG"))
        started = begin(client, words, attachments=[sha256])
        *_, (_, name, told) = events(client, started["run_id"])
        assert (name, told["finish_reason"]) == ("done", "stop")
        question, answer = client.get(f"/api/conversations/{started['conversation_id']}").json()["messages"]
        assert [held["sha256"] for held in question["attachments"]] == [sha256]
        assert (question["content"], answer["content"]) == (words, "I see.")


def test_a_conversation_that_holds_one_is_read_and_its_next_answer_says_why_not(own: httpx.Client, home: Path) -> None:
    """It came from elsewhere; the model is told nothing that it cannot see, and nobody is answered as if it had."""
    assert own.post("/api/import", json=holding(PICTURE)).json()["imported"] == 1
    (head,) = own.get("/api/conversations").json()["conversations"]
    (question,) = own.get(f"/api/conversations/{head['id']}").json()["messages"]
    (held,) = question["attachments"]
    assert held == {"sha256": hashlib.sha256(PICTURE).hexdigest(), "kind": "picture", "media_type": "image/png"}
    assert own.get(f"{AT}/{held['sha256']}").content == PICTURE
    again = {"content": None, "parent_id": question["id"], "conversation_id": head["id"]}
    *_, (_, name, told) = events(own, own.post("/api/runs", json=again).json()["run_id"])
    assert (name, told["code"], told["retryable"]) == ("error", "unsupported_media", False)
    assert "an image/png cannot be read" in told["message"]
    exported = own.get("/api/export").json()
    assert base64.b64decode(exported["attachments"][0]["bytes"]) == PICTURE
    assert own.delete(f"/api/conversations/{head['id']}?purge=true", headers=JSON).status_code == 204
    assert own.get(f"{AT}/{held['sha256']}").status_code == 404
    assert files(home) == [], "its bytes are destroyed with it"


def test_each_branch_has_its_own_pictures(home: Path) -> None:
    """Edited, asked again and gone on with: the model sees those of the branch, and they live as long as it does."""
    (home.parent / "fake.json").write_text('{"senses": ["picture"], "reply": "I see."}')
    with serving(home.parent / "fake.json", home) as base, httpx.Client(base_url=base, timeout=30) as client:
        one, two, three = (upload(client, encoded(drawn((width, 40)), "PNG")) for width in (40, 80, 120))

        def seen(content: str | None, **more: Any) -> tuple[dict[str, str], int]:
            """A run, and how many tokens its model read."""
            started = begin(client, content, **more)
            *told, (_, name, _) = events(client, started["run_id"])
            assert name == "done"
            return started, next(value["ctx_used"] for _, name, value in told if name == "usage")

        first, small = seen("What?", attachments=[one])
        where = {"conversation_id": first["conversation_id"]}
        _, edited = seen("What?", **where, parent_id=None, attachments=[two])
        assert edited > small, "a wider picture in the place of the other"
        _, again = seen(None, **where, parent_id=first["message_id"])
        assert again == small, "the same was read"
        _, longer = seen("And?", **where, parent_id=first["answer_id"], attachments=[three])
        assert longer > small
        messages = client.get(f"/api/conversations/{first['conversation_id']}").json()["messages"]
        held = [[part["sha256"] for part in message.get("attachments", ())] for message in messages]
        assert [digests for digests in held if digests] == [[one], [two], [three]]
        assert (
            client.delete(f"/api/conversations/{first['conversation_id']}?purge=true", headers=JSON).status_code == 204
        )
        assert files(home) == []


def test_it_is_found_by_the_name_of_its_file(home: Path) -> None:
    (home.parent / "fake.json").write_text('{"senses": ["picture"], "reply": "I see."}')
    with serving(home.parent / "fake.json", home) as base, httpx.Client(base_url=base, timeout=30) as client:
        named = client.put(
            AT, content=encoded(drawn(), "PNG"), headers=RAW, params={"name": "C:\\photos\\Harbour \n map.png"}
        )
        started = begin(client, "What is it?", attachments=[named.json()["sha256"]])
        events(client, started["run_id"])
        id = started["conversation_id"]
        for query in ("harbour", "map.png", "what"):
            (found,) = client.get("/api/conversations", params={"q": query}).json()["conversations"]
            assert found["id"] == id
        (found,) = client.get("/api/conversations", params={"q": "harbour"}).json()["conversations"]
        assert {"t": "Harbour", "hit": True} in found["snippet"]
        question, _ = client.get(f"/api/conversations/{id}").json()["messages"]
        assert question["attachments"][0]["name"] == "Harbour   map.png"
        exported = client.get("/api/export").json()
        assert client.delete(f"/api/conversations/{id}?purge=true", headers=JSON).status_code == 204
        assert client.post("/api/import", json=exported).json()["imported"] == 1
        (found,) = client.get("/api/conversations", params={"q": "harbour"}).json()["conversations"]
        assert found["id"] == id
        assert "[Harbour   map.png " in client.get("/api/export", params={"format": "md"}).text


def test_there_is_room_for_so_much_and_no_more(home: Path) -> None:
    with (
        serving(home.parent / "fake.json", home, attachment_bytes=len(PICTURE)) as base,
        httpx.Client(base_url=base, timeout=30) as client,
    ):
        upload(client)
        refused = client.put(AT, content=FILES["audio/flac"], headers=RAW)
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (507, "storage_full")
        assert "attachment_bytes" in error["message"]
        assert len(files(home)) == 1


def test_a_full_disk_takes_none_and_keeps_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "fake.json").write_text(json.dumps({}))
    with (
        small_disk(tmp_path / "disk") as disk,
        serving(tmp_path / "fake.json", disk) as base,
        httpx.Client(base_url=base, timeout=30) as client,
    ):
        sha256 = upload(client)
        with full(disk):
            refused = client.put(AT, content=PICTURE + bytes(100_000), headers=RAW)
            assert (refused.status_code, refused.json()["error"]["code"]) == (507, "storage_full")
            assert client.get(f"{AT}/{sha256}").content == PICTURE
            assert len(files(disk)) == 1
        upload(client, PICTURE + bytes(100_000))


def test_what_the_disk_lost_is_said_and_mended_by_the_same(own: httpx.Client, home: Path) -> None:
    sha256 = upload(own)
    files(home)[0].write_bytes(PICTURE[:-1] + b"?")
    lost = own.get(f"{AT}/{sha256}")
    assert (lost.status_code, lost.json()["error"]["code"]) == (503, "storage_failed")
    upload(own)
    assert own.get(f"{AT}/{sha256}").content == PICTURE
