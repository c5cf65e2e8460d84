"""A model, whatever the network: from a hub of our own by the real SDK, or the small one with the reason."""

from pathlib import Path

import pytest

from tests.e2e.conftest import run, serve
from tests.hub.fakehub import FakeHub

REFERENCE = "modelscope:Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF"
NO_HUB = "http://127.0.0.1:9"  # the discard port: nobody listens


@pytest.mark.model
def test_without_a_hub_the_small_model_is_served_and_everyone_is_told(smollm2: Path, tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    with serve(MODELSCOPE_ENDPOINT=NO_HUB, EDGECHAT_HOME=home) as server:
        server.said(r"(Could not download qwen1.5-0.5b-chat: .*refuses the connection)", 60)
        server.ready(60)
        readiness = server.readiness()
    assert readiness["model"] == "smollm2-135m-instruct"
    assert readiness["wanted"] == "qwen1.5-0.5b-chat"
    assert "refuses the connection" in readiness["why"]
    assert readiness["hint"] == "edgechat pull qwen1.5-0.5b-chat"
    assert "edgechat pull qwen1.5-0.5b-chat" in server.words
    with serve(MODELSCOPE_ENDPOINT=NO_HUB, EDGECHAT_HOME=home, EDGECHAT_OFFLINE="1") as server:
        server.ready(60)  # once pulled, nothing is asked for
        assert "EDGECHAT_OFFLINE" in server.readiness()["why"]


@pytest.mark.model
def test_without_a_hub_a_qwen_on_disk_is_served_before_a_package_is_fetched(qwen: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.gguf").symlink_to(qwen)
    assert run("pull", str(tmp_path / "mine.gguf"), "--copy").returncode == 0
    with serve(MODELSCOPE_ENDPOINT=NO_HUB) as server:
        server.ready(120)
        readiness = server.readiness()
        assert readiness["model"] == "mine"
        assert readiness["wanted"] == "qwen1.5-0.5b-chat"
        assert "Serving mine instead." in server.words
        assert "English-only" not in server.words


def test_names_as_other_programs_write_them_lead_to_ours() -> None:
    for name, meant in [("qwen2.5-0.5b", "'qwen2.5-0.5b-instruct'"), ("qwen2.5:0.5b", "qwen2.5-0.5b")]:
        told = run("pull", name)
        assert told.returncode == 2
        assert meant in told.stderr


@pytest.mark.model
def test_a_file_that_stays_where_it_lies_says_how_it_is_served(smollm2: Path) -> None:
    told = run("pull", str(smollm2))
    assert f"edgechat serve --model {smollm2}" in told.stdout
    assert "--copy" in told.stdout


@pytest.mark.model
def test_a_hub_with_other_bytes_than_the_pinned_ones_is_named(qwen_hub: FakeHub, smollm2: Path, tmp_path: Path) -> None:
    folder = qwen_hub.root / "Qwen" / "Qwen1.5-0.5B-Chat-GGUF"
    folder.mkdir(parents=True)
    (folder / "qwen1_5-0_5b-chat-q4_k_m.gguf").symlink_to(smollm2)
    with qwen_hub, serve(MODELSCOPE_ENDPOINT=qwen_hub.url, EDGECHAT_HOME=str(tmp_path / "home")) as server:
        server.said(r"(is not the file that edgechat knows)", 60)
        server.ready(60)
        assert server.readiness()["model"] == "smollm2-135m-instruct"


@pytest.mark.parametrize(
    ("reference", "says"),
    [("qwen1.5-0.5b-chat", "refuses the connection"), (REFERENCE, "refuses the connection")],
)
def test_a_model_that_was_named_is_never_replaced(reference: str, says: str) -> None:
    ended = run("serve", "--port", "0", "--model", reference, MODELSCOPE_ENDPOINT=NO_HUB)
    assert ended.returncode == 1
    assert says in ended.stderr
    assert "smollm2" not in ended.stdout + ended.stderr


@pytest.mark.model
def test_pull_and_models_tell_what_is_there(qwen_hub: FakeHub, tmp_path: Path) -> None:
    environ = {"MODELSCOPE_ENDPOINT": qwen_hub.url, "EDGECHAT_HOME": str(tmp_path / "home")}
    with qwen_hub:
        pulled = run("pull", REFERENCE, **environ)
    assert pulled.returncode == 0, pulled.stderr
    assert "qwen2.5-coder-0.5b-instruct-q4_k_m is ready" in pulled.stdout
    listed = run("models", **environ)
    assert "qwen2.5-coder-0.5b-instruct-q4_k_m" in listed.stdout
    assert "to pull" in listed.stdout


def test_pulling_the_default_shows_its_licence() -> None:
    ended = run("pull", "qwen1.5-0.5b-chat", MODELSCOPE_ENDPOINT=NO_HUB)
    assert ended.returncode == 1
    assert "RESEARCH LICENSE" in ended.stdout.replace("\n", " ").upper()
    assert ended.stderr.count("\n") == 1
