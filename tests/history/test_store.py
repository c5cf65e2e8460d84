"""One writer, many askers: what is acknowledged is there, whoever dies, whatever the disk says."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from edgechat.errors import ConfigError, EdgechatError, HistoryDamaged, HomeInUse, NotFound, Stale
from edgechat.history import conversations, removal, schema, turns
from edgechat.history.records import Turn
from edgechat.history.store import History
from tests.history.conftest import answered, ask

TORTURE = bool(os.environ.get("EDGECHAT_TORTURE"))


def test_one_refused_change_does_not_undo_its_neighbours(history: History) -> None:
    """They wait together and are committed together, but each stands for itself."""
    gate: Future[None] = Future()
    waiting = history.write(lambda db: gate.result())
    wanted = [history.write(turns.begin, "", Turn(content=f"{n}"), history.lease) for n in range(10)]
    refused = history.write(turns.begin, "", Turn(conversation_id="c-0", content="x"), history.lease)
    broken = history.write(lambda db: db.execute("INSERT INTO message (id) VALUES ('m')"))
    buggy = history.write(lambda db: 1 / 0)
    gate.set_result(None)
    waiting.result()
    with pytest.raises(NotFound):
        refused.result()
    with pytest.raises(sqlite3.IntegrityError):
        broken.result()
    with pytest.raises(ZeroDivisionError):
        buggy.result()
    assert len({future.result()[0].run_id for future in wanted}) == 10
    assert len(history.read(conversations.page, "").result().conversations) == 10


def test_what_nobody_waits_for_any_more_is_not_written(history: History) -> None:
    gate: Future[None] = Future()
    waiting = history.write(lambda db: gate.result())
    left = history.write(turns.begin, "", Turn(content="gone"), history.lease)
    assert left.cancel()
    gate.set_result(None)
    waiting.result()
    ask(history, "here")
    assert [h.title for h in history.read(conversations.page, "").result().conversations] == ["here"]


def test_sixteen_writers_lose_no_update(history: History) -> None:
    """Each adds its own words to the title a number of times, by version; every acknowledged word is there."""
    id = ask(history, "start").conversation_id
    rounds = 1000 if TORTURE else 12

    def edit(writer: int) -> int:
        done = 0
        version = history.read(conversations.get, "", id).result().version
        while done < rounds:
            try:
                count = {"pinned": (writer + done) % 2 == 0, "title": f"{writer}:{done}"}
                version = history.write(conversations.change, "", id, version, count).result().version
                history.write(append, id, f"{writer}:{done}").result()
                done += 1
            except Stale as error:
                version = error.current.version  # type: ignore[attr-defined]
        return done

    def append(db: sqlite3.Connection, id: str, word: str) -> None:
        body = db.execute("SELECT COALESCE((SELECT body FROM document WHERE name = ?), '')", (id,)).fetchone()[0]
        db.execute("INSERT OR REPLACE INTO document VALUES ('', ?, 1, ?)", (id, f"{body} {word}"))

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(edit, range(16))) == [rounds] * 16
    kept = history.read(conversations.get, "", id).result()
    assert kept.version == 1 + 16 * rounds
    words = history.read(lambda db: db.execute("SELECT body FROM document").fetchone()[0]).result().split()
    assert sorted(words) == sorted(f"{w}:{n}" for w in range(16) for n in range(rounds))


def test_readers_see_one_state_while_others_write(history: History) -> None:
    started = answered(history)
    seen = []

    def look(db: sqlite3.Connection) -> None:
        for _ in range(2):
            seen.append(len(conversations.nodes(db, started.conversation_id)))
            ask(history, "meanwhile", conversation_id=started.conversation_id, after_latest=True)

    history.read(look).result()
    assert seen == [2, 2]


def test_a_process_that_died_leaves_interrupted_answers(tmp_path: Path) -> None:
    """Killed in the middle of an answer; the next one that opens the store settles it. The living are left alone."""
    alive = History(tmp_path)
    alive.open()
    running = ask(alive, "mine is running")
    script = """
import sys, time
from pathlib import Path
from edgechat.history import turns
from edgechat.history.records import Turn
from edgechat.history.store import History
history = History(Path(sys.argv[1]))
history.open()
started, _ = history.write(turns.begin, "", Turn(content="dying"), history.lease).result()
history.write(turns.checkpoint, started.answer_id, "so far", "", "qwen").result()
print(started.run_id, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        run_id = process.stdout.readline().strip()
        assert alive.reap() == 0, "it lives"
        process.send_signal(signal.SIGKILL)
    history = History(tmp_path)
    history.open()
    answer = history.read(turns.answer_of, "", run_id).result()
    assert (answer.status, answer.content, answer.model) == ("interrupted", "so far", "qwen")
    assert answer.error == turns.LOST
    assert history.read(turns.answer_of, "", running.run_id).result().status == "running"
    assert [h.title for h in history.read(conversations.page, "", query="far").result().conversations] == ["dying"]
    history.close()
    alive.close()
    assert sorted(file.name for file in history.folder.iterdir()) == ["history.db", "reserve"]


def test_one_server_per_folder(tmp_path: Path) -> None:
    first, second = History(tmp_path), History(tmp_path)
    first.open()
    second.open()
    first.claim()
    with pytest.raises(HomeInUse, match="another server"):
        second.claim()
    first.close()
    second.claim()
    second.close()


@pytest.mark.parametrize("replace", [True, False])
def test_a_file_that_goes_while_it_is_open_is_noticed(history: History, replace: bool) -> None:
    """Nothing is written beside it, and no blank one appears in its place; what was there can still be read."""
    id = answered(history, "kept").conversation_id
    moved = history.path.rename(history.path.with_name("moved"))
    if replace:
        history.path.write_bytes(moved.read_bytes())
    with pytest.raises(HistoryDamaged, match="replaced or deleted"):
        ask(history, "lost?")
    assert history.path.exists() is replace
    moved.replace(history.path)
    ask(history, "back", conversation_id=id, after_latest=True)


# ── schema ──


def shape(path: Path) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall()


@pytest.mark.parametrize("former", ["first.sql", "second.sql"])
def test_every_schema_that_was_released_and_a_blank_file_come_to_the_same(tmp_path: Path, former: str) -> None:
    history = opened(tmp_path, former)
    blank = History(tmp_path / "blank")
    blank.open()
    assert shape(history.path) == shape(blank.path)
    (head,) = history.read(conversations.page, "", query="快速排序").result().conversations
    assert head.title == "排序"
    history.close()
    blank.close()


def test_texts_of_a_release_before_are_found_as_new_ones_are(tmp_path: Path) -> None:
    history = opened(
        tmp_path, "second.sql", "UPDATE message SET content = '대한민국의 ﾃｽﾄ' WHERE content = 'Quicksort.'"
    )
    for query in ("민국", "テスト"):
        (head,) = history.read(conversations.page, "", query=query).result().conversations
        assert head.title == "排序"
    history.close()


def opened(home: Path, former: str, change: str = "") -> History:
    """A store whose file is of an earlier schema, with one change to it."""
    history = History(home)
    history.folder.mkdir()
    with closing(sqlite3.connect(history.path)) as db:
        db.executescript((Path(__file__).parent / former).read_text() + change)
    history.open()
    return history


def test_conversations_of_the_release_before_are_what_they_were(tmp_path: Path) -> None:
    """Written by the code of schema 2: branches, a deleted message, an answer that was under way, thoughts, numbers."""
    history = opened(tmp_path, "second.sql")
    heads = history.read(conversations.page, "").result().conversations
    assert [(head.title, head.pinned) for head in heads] == [
        ("排序", True),
        ("asked once", False),
        ("a b c <|im_end|> 🙂", False),
    ]
    nodes = history.read(conversations.get, "", heads[0].id).result().messages
    assert [node.content for node in nodes] == [
        *("如何排序？", "用快速排序。", "How to sort?", "Quicksort.", "And in Python?", "sorted() does it.", "so far"),
    ]
    assert nodes[-1].status == "interrupted"
    assert (nodes[1].reasoning, nodes[1].model, nodes[1].params) == (
        "想一想",
        "qwen",
        {"stop": ["x"], "temperature": 0},
    )
    assert nodes[1].usage is not None
    assert nodes[1].usage["prompt"] == 26
    assert not any(node.attachments for node in nodes)
    said = history.read(turns.path, nodes[5].id).result()
    assert [message.content for message in said] == [
        *(("How to sort?",), ("Quicksort.",), ("And in Python?",), ("sorted() does it.",)),
    ]
    strange, half = history.read(conversations.get, "", heads[2].id).result().messages
    assert strange.content == "a\0b\u2028c <|im_end|> 🙂"
    assert half.error is not None
    assert half.error.code == "engine_failed"
    assert history.read(removal.page, "", 9).result()[0].snippet[0].t == "to be deleted"
    assert len(history.read(conversations.page, "", deleted=True).result().conversations) == 1
    assert len(history.read(conversations.page, "k-1").result().conversations) == 1
    again = Turn(content="asked once", params={"temperature": 0.5})
    assert not history.write(turns.begin, "", again, history.lease, "key").result()[1], "a retry is still one turn"
    history.close()


def _broken(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE half (done)")
    raise KeyboardInterrupt


def _more(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE more (x)")


def test_a_step_happens_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(tmp_path)
    history.open()
    id = answered(history, "before").conversation_id
    history.close()
    before = shape(history.path)
    steps: list[tuple[Callable[[sqlite3.Connection], None], ...]] = [
        (*schema.STEPS, _broken),
        (*schema.STEPS, _more),
    ]
    with monkeypatch.context() as patch:
        patch.setattr(schema, "STEPS", steps[0])
        broken = History(tmp_path)
        with pytest.raises(KeyboardInterrupt):
            broken.open()
        broken.close()
    assert shape(history.path) == before
    with monkeypatch.context() as patch:
        patch.setattr(schema, "STEPS", steps[1])
        newer = History(tmp_path)
        newer.open()
        assert newer.read(conversations.get, "", id).result().title == "before"
        newer.close()
    assert (history.folder / f"before-{len(steps[1])}.db").exists(), "a copy from before the step is kept"
    with pytest.raises(ConfigError, match="newer edgechat"):
        History(tmp_path).open()


def test_a_bug_fails_its_own_change_and_no_other(history: History) -> None:
    """Nonsense in SQL undoes a whole transaction; the others are tried again by themselves."""
    gate: Future[None] = Future()
    waiting = history.write(lambda db: gate.result())
    nonsense = history.write(lambda db: db.execute("SELECT nonsense"))
    good = history.write(turns.begin, "", Turn(content="good"), history.lease)
    gate.set_result(None)
    waiting.result()
    with pytest.raises(EdgechatError, match="nonsense"):
        nonsense.result()
    assert good.result()[1]
    with pytest.raises(EdgechatError, match="nonsense"):
        history.read(lambda db: db.execute("SELECT nonsense")).result()
