"""Checkpoints of a running state: where they are taken, how many are held, and that nobody goes on from a foreign one.

The fake engine fails where a state is not that of the tokens before it, so whatever is answered here came from its own.
"""

import random
from pathlib import Path

import pytest

from edgechat.scheduler.checkpoints import LEAST, SAYING, STRIDE, TAIL, lasting, places
from edgechat.scheduler.loop import Loop
from edgechat.scheduler.prefixes import Found, PrefixTree
from edgechat.scheduler.shelf import Label, Shelf
from edgechat.types import Done
from tests.scheduler.test_loop import Bench
from tests.scheduler.test_prefixes import shared

# ── where ──


def test_a_prompt_pauses_where_the_next_one_may_part_from_it() -> None:
    system, asked = 40, 1200
    found = [at for at in places((system, asked), 0, 4096, 8) if at <= asked]
    assert found == [system, STRIDE, 2 * STRIDE, 3 * STRIDE, asked - TAIL, asked]


def test_what_is_held_already_needs_no_pause() -> None:
    assert [at for at in places((40, 700), 640, 4096, 8) if at <= 700] == [700]
    assert [at for at in places((40, 700), 700 - LEAST + 1, 4096, 8) if at <= 700] == []


def test_a_long_answer_pauses_now_and_then() -> None:
    assert places((40,), 0, 2 * SAYING + 1, 8) == [40, SAYING, 2 * SAYING]


def test_a_system_message_has_a_place_however_short_the_question_is() -> None:
    assert [at for at in places((56, 61), 0, 4096, 8) if at <= 61] == [56, 61]


def test_files_are_written_of_the_first_place_the_latest_and_some_between() -> None:
    assert lasting([]) == []
    assert lasting([40]) == [40]
    assert lasting([40, 168, 296, 700, 760, 824, 830]) == [40, 700, 824, 830]
    assert lasting([128, 256, 384, 559, 623]) == [128, 559, 623]


def test_without_room_there_is_no_pause() -> None:
    assert places((40, 700), 0, 4096, 0) == []
    assert places((), 0, 4096, 8) == []


@pytest.mark.parametrize("seed", range(100))
def test_places_ascend_and_keep_to_their_number(seed: int) -> None:
    dice = random.Random(seed)
    last = dice.randrange(1, 5000)
    turns = sorted({*(dice.randrange(1, last + 1) for _ in range(dice.randrange(12))), last})
    start, most = dice.randrange(last), dice.randrange(1, 12)
    found = [at for at in places(turns, start, 8192, most) if at <= last]
    assert len(found) <= most
    assert found == sorted(set(found))
    assert all(start + LEAST <= at for at in found)
    assert not found or found[-1] == last
    assert found or last < start + LEAST
    if most > 1 and turns[0] >= start + LEAST:
        assert turns[0] in found


# ── the tree ──


def test_a_beginning_is_of_use_up_to_a_checkpoint_or_an_end() -> None:
    tree = PrefixTree("checkpoints")
    tree.open(1, "", [])
    tree.keep(1, "", [1, 2, 3, 4])
    assert tree.find("", [1, 2, 3, 4, 5]) == Found(4, 1)  # its own state
    assert tree.find("", [1, 2, 3, 5]) == Found(0, None)
    assert tree.held("", [1, 2, 3, 5]) == Found(3, 1)
    assert tree.mark("", [1, 2], 7)
    assert not tree.mark("", [1, 2], 8)
    assert not tree.mark("", [1, 9], 8)
    assert tree.find("", [1, 2, 3, 5]) == Found(2, 1, 7)
    tree.open(2, "", [1, 2])
    assert tree.drop(1) == []
    assert tree.drop(2) == [7]


def test_a_sequence_in_use_has_gone_on_from_where_it_began() -> None:
    tree = PrefixTree("checkpoints")
    tree.open(1, "", [])
    tree.keep(1, "", [1, 2])
    tree.open(2, "", [1, 2])
    tree.drop(1)
    assert tree.find("", [1, 2, 3]) == Found(0, None)


@pytest.mark.parametrize("seed", range(200))
def test_random_lives_agree_with_a_plain_model(seed: int) -> None:
    dice, tree = random.Random(seed), PrefixTree("checkpoints")
    kept: dict[int, tuple[str, list[int]]] = {}
    marks: dict[int, tuple[str, list[int]]] = {}
    for seq in range(80):
        realm, tokens = dice.choice("ab"), [dice.randrange(3) for _ in range(dice.randrange(1, 9))]
        ends = [t for r, t in (*kept.values(), *marks.values()) if r == realm and tokens[: len(t)] == t]
        found = tree.find(realm, tokens)
        assert found.length == max(map(len, ends), default=0)
        assert found.checkpoint is None or marks[found.checkpoint] == (realm, tokens[: found.length])
        if found.seq is not None:
            assert shared(kept[found.seq][1], tokens) >= found.length
            assert (found.checkpoint is None) == (len(kept[found.seq][1]) == found.length)
        tree.open(seq, realm, tokens[: found.length])
        for gone in tree.keep(seq, realm, tokens).redundant:
            del kept[gone]
        kept[seq] = realm, tokens
        length = dice.randrange(1, len(tokens) + 1)
        if tree.mark(realm, tokens[:length], seq):
            marks[seq] = realm, tokens[:length]
        if dice.random() < 0.3:
            oldest = tree.oldest()
            assert oldest is not None
            for mark in tree.drop(oldest):
                del marks[mark]
            del kept[oldest]
        if marks and dice.random() < 0.2:
            stalest = tree.stalest()
            assert stalest is not None
            tree.unmark(stalest)
            del marks[stalest]
        tree.check()
        assert tree.checkpoints == set(marks)
        assert all(any(r == mine and t[: len(m)] == m for mine, t in kept.values()) for r, m in marks.values())


# ── the whole scheduler ──

DOCUMENT = "".join(f"line {number}. " for number in range(40))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, checkpoints=20, sequences=6)


def cached(bench: Bench) -> dict[int, int]:
    bench.loop._pool.check()
    return {id: event.usage.cached_tokens for id, event in bench.events if isinstance(event, Done)}


def test_a_state_is_gone_on_from_where_a_dense_model_would(bench: Bench) -> None:
    bench.one_by_one(
        lambda: bench.ask(1, DOCUMENT),
        lambda: bench.ask(2, DOCUMENT, f"You said: {DOCUMENT}", "and more"),
        lambda: bench.ask(3, DOCUMENT, f"You said: {DOCUMENT}", "and more"),
        lambda: bench.ask(4, DOCUMENT),
    )
    usage = {id: event.usage for id, event in bench.events if isinstance(event, Done)}
    assert cached(bench)[2] == usage[1].prompt_tokens + usage[1].completion_tokens
    assert cached(bench)[3] == usage[3].prompt_tokens - 1
    assert cached(bench)[4] == usage[1].prompt_tokens - 1
    assert bench.text(3) == "You said: and more"


def test_another_question_about_a_text_reads_its_end_again(bench: Bench) -> None:
    bench.one_by_one(lambda: bench.ask(1, DOCUMENT + "who?"), lambda: bench.ask(2, DOCUMENT + "when?"))
    assert len(DOCUMENT) - TAIL <= cached(bench)[2] < len(DOCUMENT) + len("<im_start>")
    assert bench.text(2) == f"You said: {DOCUMENT}when?"


def test_an_edit_of_an_earlier_turn_goes_on_from_before_it(bench: Bench) -> None:
    first, said = DOCUMENT, f"You said: {DOCUMENT}"
    bench.one_by_one(
        lambda: bench.ask(1, first),
        lambda: bench.ask(2, first, said, "y " * 50),
        lambda: bench.ask(3, first, said, "z " * 50),
    )
    usage = {id: event.usage for id, event in bench.events if isinstance(event, Done)}
    assert cached(bench)[3] == usage[1].prompt_tokens + usage[1].completion_tokens


def test_nothing_is_gone_on_from_across_realms(bench: Bench) -> None:
    bench.one_by_one(lambda: bench.ask(1, DOCUMENT, realm="mine"), lambda: bench.ask(2, DOCUMENT, realm="yours"))
    assert cached(bench)[2] == 0


def test_several_at_once_come_to_share_and_keep_their_own_states(bench: Bench) -> None:
    for id in range(5):
        bench.ask(id, DOCUMENT + f"number {id}")
    bench.loop.run()
    assert [bench.text(id) for id in range(5)] == [f"You said: {DOCUMENT}number {id}" for id in range(5)]
    assert bench.loop._pool.used < 5 * (len(DOCUMENT) + 60) + len(DOCUMENT)  # the document once, and five answers


@pytest.mark.parametrize("room", [1, 2, 5])
def test_there_are_never_more_than_there_is_room_for(tmp_path: Path, room: int) -> None:
    bench = Bench(tmp_path, checkpoints=room, sequences=4, cells=20_000)
    checked: list[int] = []
    take = bench.loop._pool.checkpoint

    def watched(answer: object) -> None:
        take(answer)  # type: ignore[arg-type]
        checked.append(bench.loop._pool._checkpoints)

    bench.loop._pool.checkpoint = watched  # type: ignore[method-assign]
    bench.one_by_one(*(lambda n=n: bench.ask(n, f"{n} {DOCUMENT}") for n in range(6)))
    assert max(checked, default=0) <= room
    assert [bench.text(n) for n in range(6)] == [f"You said: {n} {DOCUMENT}" for n in range(6)]


def test_long_prompts_leave_checkpoints_to_those_who_come_after_them(tmp_path: Path) -> None:
    """Two that are being answered hold all there may be; the third one's text can be asked about again all the same."""
    bench = Bench(tmp_path, checkpoints=6, sequences=4, cells=20_000)
    for id in range(3):
        bench.ask(id, f"{id} {DOCUMENT}who?")
    bench.loop.run()
    bench.loop._stopped = False
    bench.one_by_one(lambda: bench.ask(3, f"2 {DOCUMENT}when?"))
    assert cached(bench)[3] >= len(DOCUMENT) - TAIL
    assert bench.text(3) == f"You said: 2 {DOCUMENT}when?"


# ── the shelf ──

TOKENS = list(range(100, 160))
MINE = Label("mine", "chat 1")


def shelf(folder: Path, budget: int = 1_000_000) -> Shelf:
    return Shelf(folder, budget, "model a", "checkpoints")


def test_checkpoints_come_back_in_the_next_life(tmp_path: Path) -> None:
    one = shelf(tmp_path)
    one.put(MINE, TOKENS, b"all", {20: b"at 20", 40: b"at 40"})
    one.close()
    again = shelf(tmp_path)
    found = again.find("mine", [*TOKENS[:50], 1], beyond=0)
    assert found is not None
    assert found.length == 40
    assert found.checkpoint is not None
    assert (again.read(found.book), again.read(found.checkpoint)) == (b"all", b"at 40")
    assert again.find("mine", TOKENS[:15], beyond=0) is None
    assert again.find("mine", [*TOKENS, 1], beyond=0) == (len(TOKENS), found.book, None)


def test_a_checkpoint_is_written_once_for_all_who_pass_it_and_goes_with_the_last(tmp_path: Path) -> None:
    one = shelf(tmp_path)
    one.put(MINE, TOKENS, b"all", {20: b"at 20"})
    one.put(Label("mine", "chat 2"), [*TOKENS[:30], 1], b"other", {20: b"at 20"})
    assert len(one) == 3
    one.forget("chat 1")
    assert len(one) == 1
    one.forget("chat 2")
    one.close()
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_checkpoint_is_none_and_the_one_before_it_serves(tmp_path: Path) -> None:
    one = shelf(tmp_path)
    one.put(MINE, TOKENS, b"all", {20: b"at 20", 40: b"at 40"})
    one.close()
    (damaged,) = [path for path in tmp_path.iterdir() if path.read_bytes().endswith(b"at 40")]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"1")
    again = shelf(tmp_path)
    found = again.find("mine", TOKENS[:50], beyond=0)
    assert found is not None
    assert found.checkpoint is not None
    assert again.read(found.checkpoint) is None
    assert again.find("mine", TOKENS[:50], beyond=0) == (20, found.book, again._book(1))
    assert not damaged.exists()


def test_a_restart_reads_no_more_than_the_end_again(tmp_path: Path) -> None:
    lives = []
    for _ in range(2):
        bench = Bench(tmp_path, checkpoints=20, sequences=6)
        bench.loop = Loop(bench.engine, bench.tell, shelf=shelf(tmp_path / "shelf"))
        bench.one_by_one(lambda bench=bench: bench.ask(1, DOCUMENT + "who?"))  # type: ignore[misc]
        assert bench.loop._pool._shelf is not None
        bench.loop._pool._shelf.close()
        lives.append(bench)
    usage = [event.usage for _, event in lives[1].events if isinstance(event, Done)]
    assert usage[0].cached_tokens == usage[0].prompt_tokens - 1
    assert lives[1].text(1) == lives[0].text(1)
