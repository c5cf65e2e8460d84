"""pull, models, verify, remove, gc: what a person and a script are told about what is here."""

import json
from pathlib import Path

import pytest

from edgechat.cli import follow
from tests import ggufs
from tests.cli.conftest import Bench, Command
from tests.hub.conftest import TINY, TINY_FILE, made_up, sha256
from tests.scripts import tuned

CONTRACT = {
    "name", "source", "revision", "sha256", "size", "licence", "quantisation", "context", "ram", "loaded", "state",
}  # fmt: skip
METADATA = {
    "general.architecture": "llama",
    "general.license": "mit",
    "llama.context_length": 2048,
    "llama.block_count": 2,
    "llama.embedding_length": 64,
    "llama.attention.head_count": 2,
}
MODEL = ggufs.gguf(METADATA, {"w": (64, 64)})


@pytest.fixture
def pulled(hub: Bench, command: Command) -> Bench:
    """A hub with a sane little file, and that file pulled."""
    hub.put(f"Qwen/Tiny-GGUF/{TINY_FILE}", MODEL)
    ran = command("pull", TINY)
    assert ran.status == 0, ran
    assert "tiny-q4_k_m is ready" in ran.said
    return hub


def row(command: Command, name: str = "tiny-q4_k_m") -> dict[str, object]:
    ran = command("models", "--json")
    rows = json.loads(ran.said)
    assert all(rows[0].keys() == one.keys() for one in rows)
    return next(one for one in rows if one["name"] == name)


def test_models_tells_what_the_contract_names(pulled: Bench, command: Command) -> None:
    found = row(command)
    assert found.keys() >= CONTRACT
    assert found["state"] == "here"
    assert (found["sha256"], found["size"], found["licence"]) == (sha256(MODEL), len(MODEL), "mit")
    assert (found["quantisation"], found["context"], found["loaded"]) == ("F32", 2048, False)
    assert isinstance(found["ram"], int)
    assert found["ram"] > len(MODEL)
    assert (found["senses"], row(command, "qwen3.5-0.8b")["senses"]) == ([], ["picture"])
    assert row(command, "qwen3-0.6b")["state"] == "to pull"
    assert "tiny-q4_k_m" in command("models").said


def test_a_tuned_model_takes_what_the_file_takes_that_is_loaded_for_it(pulled: Bench, command: Command) -> None:
    large = ggufs.gguf(METADATA, {"w": (64, 64), "v": (1 << 10, 1 << 10)})
    pulled.put("Qwen/Tuned-GGUF/tuned.gguf", large)
    before = row(command)["ram"]
    assert command("pull", "modelscope:Qwen/Tuned-GGUF").status == 0
    model, file = (pulled.store.current(name) for name in ("tiny-q4_k_m", "tuned"))
    tuned(pulled.store, model, file)
    found = row(command)
    assert (found["ram"], found["size"]) == (row(command, "tuned")["ram"], len(MODEL))
    assert found["ram"] != before
    with pulled.store.hold(file):
        assert row(command)["loaded"] is True


def test_a_model_that_is_read_is_loaded(pulled: Bench, command: Command) -> None:
    with pulled.store.hold(pulled.store.list()[0]):
        assert row(command)["loaded"] is True


def test_memory_that_does_not_hold_a_model_is_told_with_what_would(
    pulled: Bench, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGECHAT_MEMORY", "1MB")
    found = row(command)
    assert "it takes --memory" in str(found["why"])
    assert found["state"] == "here"


def test_verify_reads_every_byte_and_says_exactly_what_is_wrong(pulled: Bench, command: Command) -> None:
    ran = command("verify")
    assert ran.status == 0
    assert sha256(MODEL) in ran.said
    (path,) = pulled.store.list()[0].files
    damage(path)
    ran = command("verify", "tiny-q4_k_m")
    assert ran.status == 1
    assert f"{TINY_FILE} has changed: its SHA-256 is {sha256(path.read_bytes())}, not {sha256(MODEL)}" in ran.said
    assert "edgechat pull tiny-q4_k_m" in ran.said
    path.write_bytes(MODEL[:-5])
    assert f"{TINY_FILE} has {len(MODEL) - 5:,} bytes instead of {len(MODEL):,}" in command("verify").said
    document = command("verify", "--json")
    assert (document.status, [one["ok"] for one in json.loads(document.said)]) == (1, [False])
    assert row(command)["state"] == "damaged"

    assert command("pull", "tiny-q4_k_m").status == 0
    assert command("verify").status == 0


def test_a_file_that_is_no_gguf_is_damaged_in_the_list(hub: Bench, command: Command) -> None:
    hub.put(f"Qwen/Tiny-GGUF/{TINY_FILE}", made_up())
    assert command("pull", TINY).status == 0
    found = row(command)
    assert found["state"] == "damaged"
    assert "not a usable GGUF" in str(found["why"])


def test_a_kind_of_model_that_is_not_served_is_named_when_it_comes_and_in_the_list(
    hub: Bench, command: Command
) -> None:
    hub.put(f"Qwen/Tiny-GGUF/{TINY_FILE}", ggufs.unserved())
    ran = command("pull", TINY)
    assert ran.status == 0
    assert "models of architecture rwkv7 are not served" in ran.said.replace("\n", " ")
    found = row(command)
    assert (found["state"], found["ram"]) == ("here", None)
    assert "models of architecture rwkv7 are not served" in str(found["why"])


def test_removing_and_clearing(pulled: Bench, command: Command) -> None:
    ran = command("remove", "tiny-q4_k_m")
    assert ran.status == 0
    assert "are free again" in ran.said
    assert pulled.nothing_published
    assert command("gc").status == 0
    ran = command("remove", "tiny-q4_k_m")
    assert (ran.status, ran.complained.count("\n")) == (2, 1)


def test_verify_of_nothing_and_of_a_stranger(hub: Bench, command: Command) -> None:
    assert command("verify").said == "No model is installed.\n"
    assert command("verify", "stranger").status == 2


def damage(path: Path) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_a_model_without_a_chat_template_is_told(pulled: Bench, command: Command) -> None:
    assert "no chat template" in str(row(command)["why"])
    talks = ggufs.gguf(METADATA | {"tokenizer.chat_template": "{{ messages }}"}, {"w": (64, 64)})
    pulled.put("Qwen/Talks-GGUF/talks.gguf", talks)
    assert command("pull", "modelscope:Qwen/Talks-GGUF").status == 0
    assert row(command, "talks")["why"] is None
    said = json.loads(command("doctor", "--json").said)
    (check,) = [check for check in said["checks"] if check["name"].startswith("template ")]
    assert check["name"] == "template tiny-q4_k_m"
    assert "ChatML" in check["found"]


def test_a_narrow_terminal_is_told_row_by_row(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow.out, "_width", 40)
    lines = command("models").said.splitlines()
    told = lines[lines.index("qwen3-0.6b") + 1 :][:2]
    assert " ".join(" ".join(told).split()) == "state to pull · size 639.4 MB · RAM ? · licence apache-2.0"
    assert all(len(line) <= 40 for line in lines if "edgechat serve" not in line and "Recommended" not in line)
