"""Prefixes on disk: what comes back, and what a damaged, foreign or full disk costs."""

import os
import threading
from pathlib import Path

import pytest

from edgechat.scheduler import books
from edgechat.scheduler.shelf import Beginning, Label, Shelf, erase
from tests.disks import small_disk

MINE = Label("mine", "chat 1")
TOKENS = list(range(100, 160))
STATE = os.urandom(5000)


def shelf(folder: Path, budget: int = 1_000_000, fingerprint: str = "model a") -> Shelf:
    return Shelf(folder, budget, fingerprint)


def kept(folder: Path) -> None:
    one = shelf(folder)
    one.put(MINE, TOKENS, STATE)
    one.close()


def test_what_was_put_comes_back_in_the_next_life(tmp_path: Path) -> None:
    kept(tmp_path)
    again = shelf(tmp_path)
    book = again.find("mine", [*TOKENS, 1, 2], beyond=0)
    assert book is not None
    assert again.read(book.book) == STATE
    half = again.find("mine", TOKENS[:30], beyond=0)
    assert half == Beginning(30, book.book, None)  # a branch may use its beginning
    assert again.find("mine", TOKENS, beyond=len(TOKENS)) is None
    assert again.find("yours", TOKENS, beyond=0) is None
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_it_can_be_read_before_it_is_written(tmp_path: Path) -> None:
    one = shelf(tmp_path)
    for start in range(20):
        one.put(MINE, [start, *TOKENS], STATE)
        book = one.find("mine", [start, *TOKENS], beyond=0)
        assert book is not None
        assert one.read(book.book) == STATE
    one.close()


def test_what_waits_to_be_written_is_bounded_by_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, write = threading.Event(), books.write

    def slowly(path: Path, head: bytes, state: bytes, alive: books.Alive) -> None:
        assert gate.wait(60)
        write(path, head, state, alive)

    monkeypatch.setattr(books, "write", slowly)
    monkeypatch.setattr("edgechat.scheduler.shelf.PENDING", 2 * len(STATE))
    one = shelf(tmp_path)
    one.put(MINE, [1, *TOKENS], 3 * STATE)  # one conversation, however large
    assert one.is_behind
    second = threading.Thread(target=one.put, args=(MINE, [2, *TOKENS], STATE))
    second.start()
    second.join(0.1)
    assert second.is_alive()
    assert len(one) == 1
    gate.set()
    second.join(60)
    one.close()
    assert len(shelf(tmp_path)) == 2


def test_what_a_killed_worker_did_not_finish_is_gone_in_the_next_life(tmp_path: Path) -> None:
    kept(tmp_path)
    (tmp_path / "0123.part").write_bytes(STATE)
    assert len(shelf(tmp_path)) == 1
    assert [path.suffix for path in tmp_path.iterdir()] == [".kv"]


def test_what_a_full_disk_did_not_take_leaves_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        one = shelf(disk, budget=100_000_000)
        one.put(MINE, TOKENS, os.urandom(20 << 20))
        one.close()
        assert list(disk.iterdir()) == []


@pytest.mark.parametrize("at", [0, 9, 14, 200, -1])
def test_a_damaged_file_is_deleted_and_costs_nothing_else(tmp_path: Path, at: int) -> None:
    kept(tmp_path)
    (file,) = tmp_path.iterdir()
    data = bytearray(file.read_bytes())
    data[at] ^= 0xFF
    file.write_bytes(data)
    again = shelf(tmp_path)
    book = again.find("mine", TOKENS, beyond=0)
    assert book is None or again.read(book.book) is None
    assert again.find("mine", TOKENS, beyond=0) is None
    assert not list(tmp_path.iterdir())


def test_a_cut_or_empty_file_is_deleted(tmp_path: Path) -> None:
    for length in (0, 10, 100):
        kept(tmp_path)
        (file,) = tmp_path.iterdir()
        file.write_bytes(file.read_bytes()[:length])
        again = shelf(tmp_path)
        book = again.find("mine", TOKENS, beyond=0)
        assert book is None or again.read(book.book) is None
        assert not list(tmp_path.iterdir())


def test_a_foreign_models_states_are_never_used_and_go_first(tmp_path: Path) -> None:
    kept(tmp_path)
    other = shelf(tmp_path, budget=9000, fingerprint="model b")
    assert other.find("mine", TOKENS, beyond=0) is None
    assert len(list(tmp_path.iterdir())) == 1
    other.put(MINE, [7], STATE)
    other.close()
    assert len(list(tmp_path.iterdir())) == 1
    assert len(other) == 1


def test_the_budget_holds_and_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    one = shelf(tmp_path, budget=25_000)
    for start in range(10):
        one.put(MINE, [start, *TOKENS], STATE)
        first = one.find("mine", [0, *TOKENS], beyond=0)
        assert first is not None
        assert one.read(first.book) == STATE
    one.close()
    assert one._folder.used <= 25_000
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) == one._folder.used
    assert one.find("mine", [9, *TOKENS], beyond=1) is not None
    assert one.find("mine", [5, *TOKENS], beyond=1) is None


def test_a_longer_one_replaces_its_beginning(tmp_path: Path) -> None:
    one = shelf(tmp_path)
    one.put(MINE, TOKENS, STATE)
    one.put(MINE, [*TOKENS, 1, 2, 3], STATE)
    one.close()
    assert len(one) == len(list(tmp_path.iterdir())) == 1


def test_a_deleted_conversation_leaves_nothing(tmp_path: Path) -> None:
    one = shelf(tmp_path)
    one.put(MINE, TOKENS, STATE)
    one.put(Label("mine", "chat 2"), [1, 2, 3], STATE)
    one.forget("chat 1")
    one.close()
    assert one.find("mine", TOKENS, beyond=0) is None
    assert len(list(tmp_path.iterdir())) == 1


def test_a_book_that_went_since_it_was_found_is_none(tmp_path: Path) -> None:
    one = shelf(tmp_path)
    one.put(MINE, TOKENS, STATE)
    book = one.find("mine", TOKENS, beyond=0)
    assert book is not None
    one.put(MINE, [*TOKENS, 1], STATE)  # takes its place
    assert one.read(book.book) is None
    assert len(one) == 1
    one.close()


def test_more_than_the_budget_is_not_kept_at_all(tmp_path: Path) -> None:
    one = shelf(tmp_path, budget=100)
    one.put(MINE, TOKENS, STATE)
    one.close()
    assert not list(tmp_path.iterdir())


def test_a_deleted_conversation_is_erased_for_models_that_nobody_has_loaded(tmp_path: Path) -> None:
    kept(tmp_path)
    other = shelf(tmp_path, fingerprint="model b")
    other.put(Label("mine", "chat 2"), TOKENS, STATE)
    other.close()
    (tmp_path / "strange.kv").write_bytes(b"?")
    erase(tmp_path, "chat 1")
    assert len(list(tmp_path.glob("*.kv"))) == 2
    assert shelf(tmp_path).find("mine", TOKENS, beyond=0) is None
    assert shelf(tmp_path, fingerprint="model b").find("mine", TOKENS, beyond=0) is not None


def test_a_large_state_is_written_and_read_in_pieces_with_a_sign_of_life_after_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a slow card half a gigabyte takes longer than a worker may be silent."""
    monkeypatch.setattr("edgechat.scheduler.books.PIECE", 1000)
    beats: list[str] = []
    one = Shelf(tmp_path, 1_000_000, "model a", alive=lambda: beats.append("written"))
    one.put(MINE, TOKENS, STATE)
    one.close()
    again = Shelf(tmp_path, 1_000_000, "model a", alive=lambda: beats.append("read"))
    found = again.find("mine", TOKENS, beyond=0)
    assert found is not None
    assert again.read(found.book) == STATE
    assert beats == ["written"] * 5 + ["read"] * 5
