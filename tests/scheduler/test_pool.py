"""Who holds cells while somebody is answered, and what comes back from the shelf."""

import json
from pathlib import Path

import pytest

from edgechat.engine.base import Slice
from edgechat.engine.fake import Fake
from edgechat.errors import EngineFailed
from edgechat.prompt.tokens import Prepared
from edgechat.scheduler.answer import Answer
from edgechat.scheduler.pool import Pool
from edgechat.scheduler.shelf import Shelf
from edgechat.types import GenRequest


class House:
    """A pool, and answers whose tokens are read at once."""

    def __init__(self, folder: Path, shelf: bool, cells: int = 1000, **more: int) -> None:
        script = folder / "script.json"
        script.write_text(json.dumps({"cells": cells} | more))
        self.engine = Fake(script, 0, 0, 1, lambda _: None)
        kept = Shelf(folder / "shelf", 1_000_000, "x", self.engine.cuts) if shelf else None
        self.pool = Pool(self.engine, kept)
        self.now = 0

    def answer(self, text: str) -> Answer:
        self.now += 1
        answer = Answer(self.now, GenRequest(()), Prepared(list(text.encode())), self.engine.tokenizer, self.now)
        assert self.pool.seat(answer, 0, self.now)
        tokens = answer.tokens[answer.done :]
        for at in range(0, len(tokens), 50):
            self.engine.step([Slice(answer.seq, answer.done + at, tokens[at : at + 50])])
        self.pool.grew(answer, len(tokens))
        self.pool.check()
        return answer


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path, shelf=True)


def test_while_somebody_is_answered_only_what_is_in_use_has_cells(house: House) -> None:
    house.pool.keep(house.answer("a" * 100))
    assert house.pool.used == 100  # nobody is slowed down by it
    other = house.answer("b" * 50)
    assert house.pool.used == 50
    house.pool.keep(house.answer("c" * 70))
    assert house.pool.used == 50
    house.pool.keep(other)
    again = house.answer("a" * 100 + "!")
    assert again.cached == 100


def test_a_beginning_that_is_in_use_stays_where_it_is(house: House) -> None:
    house.pool.keep(house.answer("be kind " * 10 + "hello"))
    answer = house.answer("be kind " * 10 + "good day")
    assert answer.cached == 80
    assert house.pool.used == len("be kind " * 10 + "good day")
    assert house.answer("be kind " * 10 + "hello, you").cached == 85


@pytest.mark.parametrize("checkpoints", [0, 4])
def test_as_many_cells_stay_that_nobody_uses_as_the_engine_hardly_notices(tmp_path: Path, checkpoints: int) -> None:
    house = House(tmp_path, shelf=True, spared=200, checkpoints=checkpoints)
    house.pool.keep(house.answer("a" * 100))
    house.answer("b" * 50)
    assert house.pool.used == 150
    house.pool.keep(house.answer("c" * 150))
    assert house.pool.used == 200


def test_what_nobody_uses_stays_while_the_disk_is_behind(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as behind:
        behind.setattr(Shelf, "is_behind", True)
        house.pool.keep(house.answer("a" * 100))
        house.answer("b" * 50)
        assert house.pool.used == 150
    house.answer("c" * 50)
    assert house.pool.used == 100


@pytest.mark.parametrize("checkpoints", [0, 4])
def test_where_sequences_are_few_nobody_loses_the_beginning_that_they_go_on_from(
    tmp_path: Path, checkpoints: int
) -> None:
    house = House(tmp_path, shelf=True, sequences=2, checkpoints=checkpoints)
    house.pool.keep(house.answer("a" * 100))
    house.pool.keep(house.answer("b" * 50))
    assert house.answer("a" * 100 + "!").cached == 100


def test_without_a_shelf_memory_is_all_there_is(tmp_path: Path) -> None:
    house = House(tmp_path, shelf=False)
    house.pool.keep(house.answer("a" * 100))
    house.answer("b" * 50)
    assert house.pool.used == 150
    assert house.answer("a" * 100 + "!").cached == 100


def test_what_the_engine_does_not_take_back_is_read_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A foreign state may leave a part of itself behind: nothing of it is held."""

    def half(seq: int, state: bytes) -> bool:
        house.engine._cells[seq] = list(b"zzz")
        return False

    house.pool.keep(house.answer("a" * 100))
    house.pool.keep(house.answer("b" * 50))
    monkeypatch.setattr(house.engine, "restore", half)
    again = house.answer("a" * 100 + "!")
    assert again.cached == 0
    assert house.engine._cells[again.seq] == list(b"a" * 100 + b"!")
    house.pool.leave(again)
    monkeypatch.undo()
    assert house.answer("a" * 100 + "?").cached == 0  # the shelf gave it up


def test_what_the_engine_does_not_save_costs_a_prefix_and_no_answer(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.pool.keep(house.answer("a" * 100))
    monkeypatch.setattr(house.engine, "save", refuse)
    house.pool.keep(house.answer("b" * 50))
    assert [house.pool.shelve_one() for _ in range(2)] == [True, False]  # it is tried once
    assert house.answer("a" * 100 + "!").cached == 0


def test_a_deleted_conversation_leaves_the_disk_even_where_the_engine_fails(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.pool.keep(house.answer("a" * 100))
    assert house.pool.shelve_one()
    monkeypatch.setattr(house.engine, "trim", refuse)
    with pytest.raises(EngineFailed):
        house.pool.forget("")
    monkeypatch.undo()
    house.pool.clear()
    house.pool.check()
    assert house.answer("a" * 100 + "!").cached == 0


def refuse(*_: object) -> bytes:
    raise EngineFailed("no.")
