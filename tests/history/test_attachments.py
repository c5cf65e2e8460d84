"""What messages hold besides text: acknowledged when it lasts, each realm's own, gone with the last that uses it."""

import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from edgechat.errors import InvalidRequest, NoSpace, NotFound, StorageError
from edgechat.history import attachments, conversations, exchange, files, intake, removal, turns
from edgechat.history.records import Held
from edgechat.history.rescue import recover
from edgechat.history.store import History, export_copy
from edgechat.types import Message
from tests.disks import full, small_disk
from tests.history.conftest import MOST, PICTURE, answered, ask

SOUND = b"fLaC" + bytes(1000)
DAY_MS = 24 * 3_600_000
SHA = hashlib.sha256(PICTURE).hexdigest()


def put(history: History, content: bytes = PICTURE, owner: str = "", most: int = MOST, age: int = 0) -> str:
    """Upload, as long ago as `age` in milliseconds."""
    incoming = files.stored(history.attachments, content)
    now = conversations.now() - age
    try:
        kept = history.write(attachments.put, owner, incoming, most, now).result()
    except NoSpace:
        files.delete(history.attachments, [incoming.file])
        raise
    files.settle(history.attachments, incoming, kept)
    return kept.attachment.sha256


def content_of(history: History, sha256: str, owner: str = "") -> bytes:
    return files.read(history.attachments, history.read(attachments.find, owner, sha256).result())


def there(history: History) -> int:
    """How many files there are, each with its row."""
    names = {path.name for path in history.attachments.iterdir()}
    assert names == history.read(attachments.files_of).result()
    return len(names)


def purge(history: History, id: str | None = None, owner: str = "") -> None:
    history.free(conversations.purge, owner, id).result()
    history.sweep()


def test_a_message_holds_its_attachments_before_its_text(history: History) -> None:
    picture, sound = put(history), put(history, SOUND)
    started = answered(history, "What is it?", attachments=(sound, picture))
    held = (Held(sound, "sound", "audio/flac"), Held(picture, "picture", "image/png"))
    question, answer = history.read(conversations.get, "", started.conversation_id).result().messages
    assert (question.attachments, answer.attachments) == (held, ())
    said = history.read(turns.path, started.answer_id).result()
    assert said == [Message("user", (*attachments.plain(held), "What is it?")), Message.of("assistant", "Hi.")]
    assert history.read(turns.answer_of, "", started.run_id).result().attachments == ()
    (head,) = history.read(conversations.page, "", query="what").result().conversations
    assert head.title == "What is it?"


def test_the_same_bytes_are_there_once_in_a_realm_and_others_see_none(history: History) -> None:
    assert put(history) == put(history) == SHA
    assert there(history) == 1
    with pytest.raises(NotFound):
        history.read(attachments.find, "somebody", SHA).result()
    with pytest.raises(NotFound):
        ask(history, "theirs", owner="somebody", attachments=(SHA,))
    assert history.read(conversations.page, "somebody").result().conversations == (), "nothing of the turn is stored"
    put(history, owner="somebody")
    assert there(history) == 2, "each has a file of its own"


def test_they_go_with_the_last_conversation_that_uses_them(history: History) -> None:
    put(history)
    put(history, SOUND)
    first, second = (answered(history, attachments=(SHA,)).conversation_id for _ in range(2))
    history.free(conversations.delete, "", second).result()
    purge(history, first)
    assert content_of(history, SHA) == PICTURE, "what can be undone has all it had"
    purge(history, second)
    with pytest.raises(NotFound):
        history.read(attachments.find, "", SHA).result()
    assert there(history) == 1, "what was uploaded just now waits for its message"


def test_a_deleted_message_lets_go_when_it_cannot_come_back(history: History) -> None:
    put(history)
    started = answered(history, "first")
    second = answered(history, conversation_id=started.conversation_id, after_latest=True, attachments=(SHA,))
    history.free(removal.delete, "", started.conversation_id, second.message_id).result()
    history.expire()
    assert there(history) == 1
    history.write(removal.purge_old, conversations.now() + 1).result()
    history.sweep()
    assert there(history) == 0


def test_what_is_never_used_goes_after_a_day(history: History) -> None:
    put(history, age=DAY_MS + 1)
    put(history, SOUND, age=DAY_MS - 60_000)
    stray = history.attachments / "a-stray"
    stray.write_bytes(b"x")
    os.utime(stray, (0, time.time() - files.STRAY_S - 1))
    damaged = history.folder / "damaged-20260101-000000.db"
    damaged.touch()
    history.expire()
    assert stray.exists(), "a damaged database beside it may name it"
    damaged.unlink()
    history.expire()
    assert there(history) == 1
    with pytest.raises(NotFound):
        ask(history, attachments=(SHA,))


def test_what_is_taken_is_bounded_and_known(history: History) -> None:
    put(history, most=len(PICTURE))
    with pytest.raises(NoSpace, match=r"10248 bytes, and take 10248.*attachment_bytes"):
        put(history, SOUND, most=len(PICTURE))
    put(history, most=len(PICTURE))
    for strange in (
        b"",
        b"MZ not for us",
        b"<svg onload='alert(1)'/>",
        b"BM and a few words more than that are no picture",
    ):
        with pytest.raises(InvalidRequest, match="image/png"):
            put(history, strange)
    assert there(history) == 1


def test_bytes_that_the_disk_lost_are_noticed_and_mended_by_the_same(history: History) -> None:
    put(history)
    (path,) = history.attachments.iterdir()
    path.write_bytes(PICTURE[:-1] + b"?")
    with pytest.raises(StorageError, match="damaged on the disk"):
        content_of(history, SHA)
    path.unlink()
    with pytest.raises(StorageError, match="cannot be read"):
        content_of(history, SHA)
    put(history)
    assert content_of(history, SHA) == PICTURE


def test_a_handed_over_conversation_keeps_what_it_holds(history: History) -> None:
    put(history)
    put(history, SOUND)
    put(history, owner="ann")
    both = (SHA, hashlib.sha256(SOUND).hexdigest())
    mine = answered(history, "mine", attachments=both)
    answered(history, "hers", owner="ann", attachments=(SHA,))
    history.write(conversations.hand_over, "", "ann").result()
    history.sweep()
    assert there(history) == 2
    question = history.read(conversations.get, "ann", mine.conversation_id).result().messages[0]
    assert tuple(held.sha256 for held in question.attachments) == both
    assert content_of(history, SHA, "ann") == PICTURE
    purge(history, owner="ann")
    assert there(history) == 0


# ── out and in ──


def test_an_export_carries_them_and_comes_back_identical(history: History, tmp_path: Path) -> None:
    put(history)
    put(history, SOUND)
    answered(history, "both", attachments=(SHA, hashlib.sha256(SOUND).hexdigest()))
    answered(history, "one", attachments=(SHA,))
    data = b"".join(exchange.as_json(history, ""))
    document = msgspec.json.decode(data)
    before = msgspec.json.decode(data, type=exchange.File)
    assert sorted(one.bytes for one in before.attachments) == sorted([PICTURE, SOUND])
    assert intake.take_in(history, "", document, MOST).skipped == 2
    purge(history)
    assert intake.take_in(history, "", document, MOST).imported == 2
    after = msgspec.json.decode(b"".join(exchange.as_json(history, "")), type=exchange.File)
    assert after.attachments == before.attachments
    assert [one.messages for one in after.conversations] == [one.messages for one in before.conversations]
    assert there(history) == 2
    page = history.read(exchange.as_markdown, "", after.conversations[0].id).result().decode()
    assert f"[image/png {SHA[:12]}]\n\none" in page


def test_an_import_takes_nobodys_word_for_it(history: History, tmp_path: Path) -> None:
    put(history)
    id = answered(history, attachments=(SHA,)).conversation_id
    document = msgspec.json.decode(b"".join(exchange.as_json(history, "", id)))
    (enclosed,) = document["attachments"]
    wrong: object
    for wrong in (
        [],  # somebody else does not have it
        [enclosed | {"sha256": "0" * 64}],
        [enclosed | {"bytes": "no base64!"}],
        [enclosed | {"bytes": "PHN2Zz4=", "sha256": hashlib.sha256(b"<svg>").hexdigest()}],
        [enclosed, enclosed | {"more": 1}],
        {},
    ):
        with pytest.raises((InvalidRequest, NotFound)):
            intake.take_in(history, "ann", document | {"attachments": wrong}, MOST)
    blank = History(tmp_path / "blank")
    blank.open()
    with pytest.raises(NotFound, match="upload it first"):
        intake.take_in(blank, "", document | {"attachments": []}, MOST)
    blank.close()
    with pytest.raises(NoSpace):
        intake.take_in(history, "ann", document, 2 * len(PICTURE) - 1)
    assert there(history) == 1
    assert history.read(conversations.page, "ann").result().conversations == ()
    document["conversations"][0]["messages"][0]["attachments"][0]["media_type"] = "text/html"
    (taken,) = intake.take_in(history, "ann", document, MOST).conversation_ids
    question = history.read(conversations.get, "ann", taken).result().messages[0]
    assert question.attachments == (Held(SHA, "picture", "image/png"),)


# ── after the worst ──


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[History]:
    """A closed store with a picture in it."""
    history = History(tmp_path)
    history.open()
    put(history)
    answered(history, "What is it?", attachments=(SHA,))
    history.close()
    yield history


def reopened(former: History) -> History:
    history = History(former.folder.parent)
    history.open()
    return history


def the_picture(history: History) -> bytes:
    """What the one message of the one conversation holds."""
    (head,) = history.read(conversations.page, "").result().conversations
    (held,) = history.read(conversations.get, "", head.id).result().messages[0].attachments
    return content_of(history, held.sha256)


def test_a_backup_is_one_file_and_has_everything(filled: History, tmp_path: Path) -> None:
    history = reopened(filled)
    copy = history.read(export_copy, tmp_path / "copy.db", history.attachments).result()
    history.close()
    shutil.rmtree(history.folder)
    recover(History(tmp_path), copy)
    history = reopened(filled)
    assert the_picture(history) == PICTURE
    assert there(history) == 1
    with closing(sqlite3.connect(history.path)) as db:
        assert not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'enclosed'").fetchone()
    assert history.path.stat().st_size < copy.stat().st_size
    history.close()


def test_what_is_saved_of_a_damaged_file_keeps_its_attachments(filled: History) -> None:
    with filled.path.open("r+b") as file:
        file.write(b"\0" * 40)
    with closing(sqlite3.connect(filled.path)) as db, pytest.raises(sqlite3.DatabaseError):
        db.execute("SELECT * FROM attached").fetchall()
    recover(History(filled.folder.parent))
    history = reopened(filled)
    history.expire()
    assert len(list(history.attachments.iterdir())) == 1
    history.close()


def test_an_attachment_whose_message_is_lost_is_kept_for_a_while(filled: History) -> None:
    with closing(sqlite3.connect(filled.path)) as db:
        db.execute("DELETE FROM attached")
        db.commit()
    recover(History(filled.folder.parent))
    history = reopened(filled)
    history.expire()
    assert content_of(history, SHA) == PICTURE
    history.close()


def test_a_full_disk_refuses_leaves_nothing_and_lets_one_delete(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        history = History(disk)
        history.open()
        put(history)
        id = answered(history, attachments=(SHA,)).conversation_id
        with full(disk):
            with pytest.raises(NoSpace, match="disk is full"):
                put(history, SOUND * 1000)
            assert there(history) == 1
            assert content_of(history, SHA) == PICTURE
            purge(history, id)
            assert there(history) == 0
        put(history, SOUND * 1000)
        history.close()
