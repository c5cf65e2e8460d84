"""Killed at any change of the disk, in the middle of a write too: what was acknowledged is there, and all is whole.

Then the same once more, and what was not flushed is lost as well: the power failed.
"""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edgechat.history import attachments, conversations, files
from edgechat.history.records import Conversation
from edgechat.history.schema import STEPS
from edgechat.history.store import History
from tests.history.conftest import PICTURE, answered

TORTURE = bool(os.environ.get("EDGECHAT_TORTURE"))
SAMPLE = 12  # places of each scenario, where not all are tried
HERE = Path(__file__).parent
TITLES = ["third", "second", "first"]

Run = Callable[[str, int, Path], list[list[str]]]


@pytest.fixture(scope="module", params=[1, -1], ids=["killed", "without power"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Runs one scenario of doomed.py in a fork that is killed at its nth change; returns what it said, word by word."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("what kills a process at a write is compiled, and preloaded by Linux")
    library = tmp_path_factory.mktemp("doom") / "doom.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, HERE / "doom.c", "-ldl"], check=True)
    command = [sys.executable, "-m", "tests.history.doomed"]
    environ = os.environ | {"LD_PRELOAD": str(library)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environ, cwd=HERE.parents[1]) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def once(scenario: str, at: int, home: Path) -> list[list[str]]:
            stdin.write(f"{scenario} {request.param * at} {home}\n")
            stdin.flush()
            return [line.split() for line in iter(stdout.readline, "end\n")]

        yield once
        stdin.close()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with three conversations."""
    home = tmp_path_factory.mktemp("filled")
    history = History(home)
    history.open()
    for title in reversed(TITLES):
        answered(history, title, "An answer. " * 300)
    history.close()
    return home


def places(run: Run, scenario: str, home: Path) -> list[int]:
    """Where to kill: at every change that the scenario makes, or at some, evenly."""
    *_, (_, calls) = run(scenario, 0, home)
    every = range(1, int(calls) + 1)
    return list(every) if TORTURE else list(every[:: max(1, len(every) // SAMPLE)])


def each(run: Run, scenario: str, filled: Path | None, tmp_path: Path) -> Iterator[tuple[Path, list[list[str]]]]:
    """A home and what was acknowledged in it, for every place where the scenario is killed."""

    def home(name: str) -> Path:
        return Path(shutil.copytree(filled, tmp_path / name) if filled else tmp_path / name)

    killed = 0
    for at in places(run, scenario, home("counted")):
        said = run(scenario, at, home(str(at)))
        killed += not said or said[-1][0] != "calls"
        yield tmp_path / str(at), said
        shutil.rmtree(tmp_path / str(at))
    print(f"{scenario}: killed at {killed} places")
    assert killed > SAMPLE / 2


def words(said: list[list[str]]) -> set[str]:
    return {line[0] for line in said}


def everything(home: Path, owner: str = "") -> list[Conversation]:
    """What a store that opens after the kill has, newest first; the file is sound."""
    history = History(home)
    history.open()
    try:
        assert history.read(lambda db: db.execute("PRAGMA integrity_check").fetchone()).result() == ("ok",)
        heads = history.read(conversations.page, owner).result().conversations
        return [history.read(conversations.get, owner, head.id).result() for head in heads]
    finally:
        history.close()


def whole(found: list[Conversation]) -> bool:
    """They are as they were filled."""
    return all(
        [(message.role, message.status, len(message.content) > 4) for message in one.messages]
        == [("user", "complete", True), ("assistant", "complete", True)]
        for one in found
    )


def test_what_was_asked_and_answered(run: Run, tmp_path: Path) -> None:
    for home, said in each(run, "talk", None, tmp_path):
        messages = {message.id: message for one in everything(home) for message in one.messages}
        questions = [message.content for message in messages.values() if message.role == "user"]
        assert questions == [f"question {number}" for number in range(len(questions))], "each once or not at all"
        for _, number, answer in (line for line in said if len(line) == 3):
            assert f"question {number}" in questions
            done = ["answered", number, answer] in said
            assert messages[answer].status in (("complete",) if done else ("complete", "interrupted"))
            assert messages[answer].content in (("whole",) if done else ("", "part", "whole"))
        assert all(message.status != "running" for message in messages.values())


def test_a_migration(run: Run, filled: Path, tmp_path: Path) -> None:
    for home, said in each(run, "migrate", filled, tmp_path):
        with closing(sqlite3.connect(home / "history" / "history.db")) as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            columns = [row[1] for row in db.execute("PRAGMA table_info(conversation)")]
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert db.execute("SELECT count(*) FROM message").fetchone() == (6,)
        assert ("colour" in columns) == (version == len(STEPS) + 1) >= ("migrated" in words(said))
        assert "migrated" in words(run("migrate", 0, home)), "the next start finishes it"


def test_a_deletion(run: Run, filled: Path, tmp_path: Path) -> None:
    for home, said in each(run, "delete", filled, tmp_path):
        found = everything(home)
        assert [one.title for one in found] in ([TITLES[1:]] if "deleted" in words(said) else [TITLES, TITLES[1:]])
        assert whole(found)
        if "purged" in words(said):
            with closing(sqlite3.connect(home / "history" / "history.db")) as db:
                assert db.execute("SELECT count(*) FROM message").fetchone() == (4,)


def test_an_import(run: Run, filled: Path, tmp_path: Path) -> None:
    for home, said in each(run, "take", filled, tmp_path):
        taken = everything(home, "other")
        assert len(taken) in ((3,) if "imported" in words(said) else (0, 3)), "all or nothing"
        assert whole(taken)
        assert [one.title for one in everything(home)] == TITLES


def test_an_attachment(run: Run, tmp_path: Path) -> None:
    """What was acknowledged has its bytes; what was destroyed has left none, once the next one opens the store."""
    for home, said in each(run, "attach", None, tmp_path):
        found, told = everything(home), words(said)
        history = History(home)
        history.open()
        rows = history.read(lambda db: db.execute("SELECT owner, sha256 FROM attachment").fetchall()).result()
        for owner, sha256 in rows:
            kept = history.read(attachments.find, owner, sha256).result()
            assert files.read(history.attachments, kept) == PICTURE
        history.close()
        assert len(rows) >= ("uploaded" in told and "purged" not in told and not found) or "asked" in told
        assert len(found) >= ("asked" in told and "purged" not in told)
        assert all(len(one.messages[0].attachments) == len(rows) == 1 for one in found)
        if "purged" in told:
            assert not found
            assert not rows
            assert not list(history.attachments.iterdir())


def test_a_backup(run: Run, filled: Path, tmp_path: Path) -> None:
    for home, said in each(run, "backup", filled, tmp_path):
        copy = home / "history" / "copy.db"
        assert copy.exists() >= ("copied" in words(said))
        if copy.exists():
            with closing(sqlite3.connect(copy)) as db:
                assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                assert db.execute("SELECT count(*) FROM message").fetchone() == (6,)
        assert [one.title for one in everything(home)] == TITLES
