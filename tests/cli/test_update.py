"""update and rollback: a new version is taken when it has answered; the old one stays until then, and after."""

from pathlib import Path

import pytest

from tests.cli.conftest import Bench, Command
from tests.hub.conftest import TINY, TINY_FILE, made_up, sha256

NAME = "tiny-q4_k_m"


def current(bench: Bench) -> str:
    found = bench.store.find(NAME)
    assert found is not None
    return found.sha256


@pytest.mark.model
def test_an_update_is_taken_when_it_has_answered(hub: Bench, command: Command, smollm2: Path) -> None:
    old, new = smollm2.read_bytes(), smollm2.read_bytes() + bytes(64)
    hub.put(f"Qwen/Tiny-GGUF/{TINY_FILE}", old)
    assert command("pull", TINY).status == 0
    assert "nothing newer" in command("update").said
    hub.put(f"Qwen/Tiny-GGUF/{TINY_FILE}", new)

    ran = command("update", NAME)
    assert ran.status == 0, ran
    assert f"SHA-256 {sha256(old)[:12]}… is now {sha256(new)[:12]}…" in ran.said
    assert current(hub) == sha256(new)

    assert sha256(old)[:12] in command("rollback", NAME).said
    assert current(hub) == sha256(old)


def test_an_update_that_does_not_answer_is_dropped(hub: Bench, command: Command) -> None:
    hub.put(f"Qwen/Tiny-GGUF/{TINY_FILE}", made_up(1))
    assert command("pull", TINY).status == 0
    hub.put(f"Qwen/Tiny-GGUF/{TINY_FILE}", made_up(2))
    ran = command("update")
    assert ran.status == 1
    assert f"{NAME} stays as it is: its new version does not answer" in ran.said
    assert "Traceback" not in ran.said + ran.complained
    assert current(hub) == sha256(made_up(1))
    assert hub.store.marker(NAME).refused == (sha256(made_up(2)),)
    assert len(list(hub.store.blobs.folder.iterdir())) == 1


def test_an_update_with_other_bytes_than_listed_leaves_the_old_one(hub: Bench, command: Command) -> None:
    hub.put(f"Qwen/Tiny-GGUF/{TINY_FILE}", made_up(1))
    assert command("pull", TINY).status == 0
    hub.put(f"Qwen/Tiny-GGUF/{TINY_FILE}", made_up(2))
    hub.hub.faults.wrong_bytes = True
    ran = command("update")
    assert ran.status == 1
    assert "other bytes than" in ran.said
    assert current(hub) == sha256(made_up(1))


def test_a_pinned_model_stays(hub: Bench, command: Command) -> None:
    assert command("pull", TINY).status == 0
    assert command("update", "--pin", NAME).status == 0
    asked = len(hub.hub.asked)
    assert "it is pinned" in command("update").said
    assert len(hub.hub.asked) == asked
    assert command("update", "--unpin", NAME).status == 0
    assert "nothing newer" in command("update").said
    assert command("update", "--pin").status == 2


def test_there_is_nothing_to_roll_back_to(hub: Bench, command: Command) -> None:
    assert command("pull", TINY).status == 0
    ran = command("rollback", NAME)
    assert (ran.status, ran.complained) == (2, f"edgechat: there is no earlier version of {NAME}.\n")


def test_a_hub_that_does_not_answer_is_waited_for_once(
    hub: Bench, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.put("Qwen/Other-GGUF/other.gguf", made_up(3))
    assert command("pull", TINY).status == 0
    assert command("pull", "modelscope:Qwen/Other-GGUF").status == 0
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    ran = command("update")
    assert ran.status == 1
    assert ran.said.count("refuses the connection") == 1
    assert ran.said.count("its hub did not answer a moment ago") == 1


def test_with_the_hub_down_only_updates_complain(hub: Bench, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command("pull", TINY).status == 0
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    ran = command("update")
    assert (ran.status, ran.said.count("\n")) == (1, 1)
    assert "refuses the connection" in ran.said
    for arguments in (("models",), ("verify",), ("pull", NAME), ("gc",), ("update", "--pin", NAME), ("remove", NAME)):
        assert command(*arguments).status == 0, arguments
    monkeypatch.setenv("EDGECHAT_OFFLINE", "1")
    assert command("update").status == 0  # nothing is here by now
