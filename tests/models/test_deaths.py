import signal
from pathlib import Path

import pytest

from edgechat.models.deaths import Cause, explain, kills_for_memory


@pytest.mark.parametrize(
    ("status", "ended_for", "kills", "words", "cause"),
    [
        (-signal.SIGSEGV, None, False, [], "crash"),
        (-signal.SIGABRT, None, False, ["ggml.c:1: GGML_ASSERT(x) failed"], "crash"),
        (9, None, False, [], "crash"),
        (-signal.SIGKILL, None, False, [], "outside"),
        (-signal.SIGTERM, None, False, [], "outside"),
        (-signal.SIGKILL, None, True, [], "memory"),
        (-signal.SIGABRT, None, False, ["ggml_aligned_malloc: failed to allocate 9 MB", "and more"], "memory"),
        (1, None, False, ["Traceback", "MemoryError"], "memory"),
        (-signal.SIGKILL, "hang", False, [], "hang"),
        (-signal.SIGKILL, "nonsense", False, [], "nonsense"),
        (0, "stopped", False, [], "stopped"),
    ],
)
def test_the_cause_of_a_death(status: int, ended_for: Cause | None, kills: bool, words: list[str], cause: str) -> None:
    assert explain(status, ended_for, kills, words).cause == cause


def test_what_was_killed_from_outside_blames_no_request() -> None:
    assert not explain(-signal.SIGKILL, None, False, []).blames_request
    assert explain(-signal.SIGSEGV, None, False, []).blames_request


def test_a_death_for_memory_says_so_and_what_to_do() -> None:
    told = explain(-signal.SIGKILL, None, True, []).told()
    assert told.code == "engine_out_of_memory"
    assert "--context" in told.message


def test_a_death_while_loading_quotes_the_last_words() -> None:
    error = explain(3, None, False, ["first", "no such architecture"]).while_loading()
    assert "status 3" in str(error)
    assert "no such architecture" in str(error)


def test_the_kernels_counter_is_read_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "vmstat").write_text("pgfault 12\noom_kill 3\n")
    assert kills_for_memory(tmp_path / "vmstat") == 3
    assert kills_for_memory(tmp_path / "none") == 0
