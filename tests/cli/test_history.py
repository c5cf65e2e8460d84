"""Conversations from the command line: found again, taken along, brought back."""

import json
import sqlite3
import zipfile
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgechat import cli
from edgechat.errors import EdgechatError, HistoryDamaged, UnknownName
from edgechat.history.store import History
from tests.history.conftest import answered
from tests.pictures import drawn, encoded


def run(*arguments: str) -> str:
    """What a command prints. Raises what it refuses with."""
    ended = CliRunner().invoke(cli.app, arguments)
    if ended.exception is not None:
        raise ended.exception
    return ended.stdout


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder with a conversation in it; the commands find it by the environment."""
    home = tmp_path / "home"
    history = History(home)
    history.open()
    answered(history, "如何排序？", "用快速排序。")
    history.close()
    return home


def test_conversations_are_listed_searched_and_shown(home: Path) -> None:
    assert "如何排序？" in run("history", "list")
    assert "用快速排序。" in run("history", "search", "快速")
    assert run("history", "search", "冒泡") == "No conversations.\n"
    assert run("history", "search", "冒泡", "--json") == "[]\n"
    (id,) = [head["id"] for head in json.loads(run("history", "list", "--json"))]
    assert run("history", "show", id[:6]).endswith("**User**\n\n如何排序？\n\n**Assistant**\n\n用快速排序。\n")
    assert len(json.loads(run("history", "show", id, "--json"))["messages"]) == 2


def test_an_archive_brings_its_pictures(home: Path, tmp_path: Path) -> None:
    """As ChatGPT writes one: files beside conversations.json, whose names begin with their ids."""
    parts = [
        {"content_type": "image_asset_pointer", "asset_pointer": f"{how}://{id}"}
        for how, id in (("file-service", "file-Ab3"), ("sediment", "file_00ef"), ("sediment", "file_gone"))
    ]
    content = {"content_type": "multimodal_text", "parts": [*parts, "What changed?"]}
    node: dict[str, object] = {
        "message": {"author": {"role": "user"}, "content": content},
        "parent": None,
        "children": [],
    }
    sizes = {"file-Ab3-before.png": (60, 40), "user-1/file_00ef-sanitized.png": (30, 20), "file-Ab33-x.png": (9, 9)}
    files = {name: drawn(size) for name, size in sizes.items()}
    exported = tmp_path / "export.zip"
    with zipfile.ZipFile(exported, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("conversations.json", json.dumps([{"title": "Two", "mapping": {"q": node}}]))
        for name, image in files.items():
            archive.writestr(name, encoded(image, "PNG"))
    said = run("history", "import", str(exported))
    assert "Imported 1; " in said
    assert "Left out of messages: 1 pictures." in said
    (found,) = json.loads(run("history", "list", "--json"))[:1]
    (question,) = json.loads(run("history", "show", found["id"], "--json"))["messages"]
    wanted = [sha256(encoded(image, "PNG")).hexdigest() for image in list(files.values())[:2]]
    assert [held["sha256"] for held in question["attachments"]] == wanted
    assert "Imported 0; 1 were there already." in run("history", "import", str(exported))


def test_export_import_backup_recover(home: Path, tmp_path: Path) -> None:
    exported, copy = tmp_path / "out.json", tmp_path / "copy.db"
    run("history", "export", "-o", str(exported))
    assert json.loads(run("history", "export"))["conversations"] == json.loads(exported.read_text())["conversations"]
    assert run("history", "export", "--markdown").startswith("# 如何排序？\n")
    assert "Imported 0; 1 were there already." in run("history", "import", str(exported))
    run("history", "backup", str(copy))
    with closing(sqlite3.connect(copy)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    (home / "history" / "history.db").write_bytes(b"")
    with pytest.raises(HistoryDamaged, match="edgechat history recover") as refused:
        run("history", "list")
    assert refused.value.exit_status == 3
    said = run("history", "recover", "--from", str(copy))
    assert "damaged-" in said
    assert "Saved: 1 conversation, 2 messages." in said
    assert "如何排序？" in run("history", "list")


def test_mistakes_say_what_to_do(home: Path, tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("{")
    for command, word in [
        (("chat", "c-1"), "--resume"),
        (("chat", "--resume", "--home", str(tmp_path / "new")), "no conversation to go on with"),
        (("history", "show", "x"), "history list"),
        (("history", "import", str(tmp_path / "none")), "cannot be read"),
        (("history", "import", str(tmp_path / "bad")), "is not JSON"),
        (("history", "backup", str(tmp_path / "bad")), "take another name"),
        (("history", "backup", str(tmp_path / "no" / "folder")), "cannot be written"),
        (("history", "export", "-o", str(tmp_path / "no" / "folder")), "cannot be written"),
        (("history", "recover", "--from", str(tmp_path / "none")), "is not there"),
    ]:
        with pytest.raises(EdgechatError, match=word) as refused:
            run(*command)
        assert "\n" not in str(refused.value)


def test_what_was_kept_before_the_first_key_is_handed_over(home: Path) -> None:
    run("key", "add", "ann")
    run("key", "add", "bob")
    assert json.loads(run("history", "list", "--of", "ann", "--json")) == []
    assert "Now ann's: 1 conversation." in run("history", "give", "ann")
    assert json.loads(run("history", "list", "--json")) == []
    (id,) = [head["id"] for head in json.loads(run("history", "list", "--of", "ann", "--json"))]
    assert "用快速排序。" in run("history", "show", id[:6], "--of", "ann")
    assert "快速" in run("history", "search", "快速", "--of", "ann")
    assert len(json.loads(run("history", "export", "--of", "ann"))["conversations"]) == 1
    run("key", "revoke", "ann")
    run("history", "give", "bob", "--of", "ann")
    assert "如何排序？" in run("history", "list", "--of", "bob")
    with pytest.raises(UnknownName, match="'nobody'"):
        run("history", "list", "--of", "nobody")


def test_revoking_the_last_key_says_what_that_means(home: Path) -> None:
    run("key", "add", "ann")
    run("key", "add", "bob")
    assert "the last one" not in run("key", "revoke", "ann")
    assert "nobody has access now" in run("key", "revoke", "bob")


def test_where_there_is_nothing_that_is_said(home: Path) -> None:
    assert run("gc") == "Nothing to delete.\n"
    with pytest.raises(EdgechatError, match="there is none yet"):
        run("remove", "qwen")
