"""Damaged, foreign, newer, missing: named, kept as it is, and a way on."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from edgechat.errors import ConfigError, EdgechatError, HistoryDamaged, HomeInUse
from edgechat.history import conversations
from edgechat.history.rescue import recover
from edgechat.history.store import History, export_copy
from tests.history.conftest import answered, ask


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """The file of a closed store with 40 conversations in it."""
    history = History(tmp_path)
    history.open()
    for number in range(40):
        answered(history, f"question {number}", f"answer {number} " * 200)
    ask(history, "unanswered")
    history.close()
    return history.path


def refuses(path: Path, kind: type[EdgechatError], word: str) -> None:
    """Opening fails with `kind`, says `word`, names the file, and changes nothing."""
    before = {file.name: file.read_bytes() for file in path.parent.iterdir() if not file.name.endswith(".lock")}
    history = History(path.parent.parent)
    with pytest.raises(kind) as caught:
        history.open()
    history.close()
    assert word in str(caught.value)
    assert str(path) in str(caught.value)
    assert {file.name: file.read_bytes() for file in path.parent.iterdir() if not file.name.endswith(".lock")} == before


def test_an_emptied_file_is_damage_not_a_new_start(filled: Path) -> None:
    filled.write_bytes(b"")
    refuses(filled, HistoryDamaged, "history recover")


def test_a_file_that_is_gone_while_its_changes_are_there_is_damage(filled: Path) -> None:
    filled.rename(filled.with_name("elsewhere"))
    filled.with_name("history.db-wal").write_bytes(b"x")
    refuses(filled, HistoryDamaged, "history.db-wal")


def test_an_overwritten_header(filled: Path) -> None:
    with filled.open("r+b") as file:
        file.write(b"\0" * 512)
    refuses(filled, HistoryDamaged, "not a database")
    saved = recover(History(filled.parent.parent))
    assert saved.kept is not None
    assert saved.kept.exists()
    history = History(filled.parent.parent)
    history.open()
    answered(history, "life goes on")
    history.close()


def test_a_torn_page_costs_its_rows_and_no_more(filled: Path) -> None:
    size = filled.stat().st_size
    with filled.open("r+b") as file:
        file.seek(size // 8192 * 4096)
        file.write(b"\xff" * 4096)
    refuses(filled, HistoryDamaged, "damaged")
    saved = recover(History(filled.parent.parent))
    assert saved.messages >= 60
    history = History(filled.parent.parent)
    history.open()
    found = history.read(conversations.page, "", query="question", limit=200).result().conversations
    assert len(found) >= 30
    assert history.read(lambda db: db.execute("PRAGMA foreign_key_check").fetchall()).result() == []
    history.close()


def test_a_foreign_file_and_a_newer_one(filled: Path) -> None:
    with closing(sqlite3.connect(filled)) as db:
        db.execute("PRAGMA user_version = 99")
    refuses(filled, ConfigError, "newer edgechat")
    with closing(sqlite3.connect(filled)) as db:
        db.execute("PRAGMA application_id = 1")
    refuses(filled, ConfigError, "another program")


def test_a_backup_comes_back(filled: Path, tmp_path: Path) -> None:
    history = History(tmp_path)
    history.open()
    copy = history.read(export_copy, tmp_path / "copy.db", history.attachments).result()
    later = answered(history, "after the backup").conversation_id
    history.claim()
    with pytest.raises(HomeInUse, match="another server"):
        recover(History(tmp_path), copy)
    history.close()
    saved = recover(History(tmp_path), copy)
    assert saved.conversations == 41
    history = History(tmp_path)
    history.open()
    ids = [head.id for head in history.read(conversations.page, "", limit=200).result().conversations]
    assert len(ids) == 41
    assert later not in ids
    history.close()
    with pytest.raises(ConfigError):
        recover(History(tmp_path), tmp_path / "none.db")
    (tmp_path / "other").write_bytes(b"no database" * 100)
    with pytest.raises(HistoryDamaged):
        recover(History(tmp_path), tmp_path / "other")


def test_an_older_schema_is_saved_too(tmp_path: Path) -> None:
    """The damaged file knows nothing of columns that came later."""
    path = tmp_path / "history" / "history.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.executescript((Path(__file__).parent / "first.sql").read_text())
    saved = recover(History(tmp_path))
    assert (saved.conversations, saved.messages) == (1, 2)
