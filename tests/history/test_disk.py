"""The disk is full, read-only or failing: refused, not acknowledged; reading goes on; it heals by itself."""

import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgechat.errors import NoSpace, StorageError
from edgechat.history import conversations, exchange, writer
from edgechat.history.store import History
from tests.disks import full, read_only, small_disk
from tests.history.conftest import answered, ask


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


def titles(history: History) -> list[str]:
    return [head.title for head in history.read(conversations.page, "").result().conversations]


def test_a_full_disk_refuses_and_heals(disk: Path) -> None:
    history = History(disk)
    history.open()
    kept, unwanted = answered(history, "kept"), answered(history, "unwanted")
    with full(disk):
        for _ in range(5):
            with pytest.raises(NoSpace, match="disk is full"):
                ask(history, "refused " * 100)
        assert titles(history) == ["unwanted", "kept"]
        assert b"kept" in b"".join(exchange.as_json(history, "", kept.conversation_id))
        assert history.free(conversations.delete, "", unwanted.conversation_id).result() == 1
        assert titles(history) == ["kept"]
    ask(history, "healed")
    assert titles(history) == ["healed", "kept"]
    assert history.read(lambda db: db.execute("PRAGMA integrity_check").fetchone()).result() == ("ok",)
    history.close()


def test_a_disk_that_is_read_only_from_the_start(disk: Path) -> None:
    history = History(disk)
    history.open()
    history.close()
    before = history.path.read_bytes()
    with read_only(disk), pytest.raises(StorageError, match="cannot be written") as refused:
        History(disk).open()
    assert refused.value.exit_status == 3
    assert history.path.read_bytes() == before
    history = History(disk)
    history.open()
    ask(history, "healed")
    history.close()


def test_a_disk_that_keeps_failing_is_left_in_peace_for_a_while(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some errors in a row nobody waits for the disk: refused at once, until the rest is over."""
    answered(history, "kept")
    tried = []

    def broken(path: Path) -> sqlite3.Connection:
        tried.append(path)
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_IOERR, "SQLITE_IOERR"
        raise error

    assert history._writer is not None
    with monkeypatch.context() as patch:
        patch.setattr(history._writer, "_connect", lambda: broken(history.path))
        history.write(lambda db: None).result()
        patch.setattr(history._writer, "_db", None)
        for _ in range(writer.FAULTS + 5):
            with pytest.raises(StorageError):
                ask(history, "refused")
    assert len(tried) == writer.FAULTS
    assert titles(history) == ["kept"]
    history._writer._resume = 0.0
    ask(history, "healed")
    assert titles(history) == ["healed", "kept"]


FAILING = textwrap.dedent("""
    import sys
    from pathlib import Path
    from edgechat.errors import StorageError
    from edgechat.history import conversations, turns
    from edgechat.history.records import Turn
    from edgechat.history.store import History

    history = History(Path(sys.argv[1]))
    history.open()
    for number in range(20):
        try:
            history.write(turns.begin, "", Turn(content=f"message {number}"), history.lease).result()
            print("ok", number)
        except StorageError as error:
            there = history.read(conversations.page, "").result().conversations
            print("refused", number, "while", len(there), "are read:", error)
    history.close()
""")


@pytest.mark.parametrize(
    ("calls", "error", "when"),
    [("fsync,fdatasync", "EIO", "10..11"), ("pwrite64", "EROFS", "100..101"), ("pwrite64", "EIO", "100..101")],
)
def test_what_the_disk_does_not_take_is_not_acknowledged(tmp_path: Path, calls: str, error: str, when: str) -> None:
    """In the middle the disk fails for a moment: what is acknowledged is there and read, and it goes on by itself."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace, which makes a disk fail, is not installed")
    history = History(tmp_path)
    history.open()  # the file is made in peace
    history.close()
    faults = [part for call in calls.split(",") for part in ("-e", f"inject={call}:error={error}:when={when}")]
    traced = [strace, "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", *faults]
    command = [*traced, sys.executable, "-c", FAILING, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if "PTRACE" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    said = [line.split() for line in done.stdout.splitlines() if line.split()[0] in ("ok", "refused")]
    acknowledged = {f"message {number}" for word, number, *_ in said if word == "ok"}
    for at, (word, *more) in enumerate(said):
        assert word == "ok" or int(more[2]) == sum(before[0] == "ok" for before in said[:at]), "reading goes on"
    assert len(said) == 20
    assert 0 < len(acknowledged) < 20, "the fault hits, and passes"
    history = History(tmp_path)
    history.open()
    there = {head.title for head in history.read(conversations.page, "").result().conversations}
    assert acknowledged == there
    assert history.read(lambda db: db.execute("PRAGMA integrity_check").fetchone()).result() == ("ok",)
    history.close()
