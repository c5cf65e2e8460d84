"""The terminal in pipes, and beside a server: what goes to standard output is the answer, to the byte."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.cells import cell_len

from edgechat.history import conversations
from edgechat.history.store import History
from tests.conftest import FakeModel, rambling
from tests.e2e.conftest import EDGECHAT, Server, free_port, serve
from tests.e2e.test_chat import Terminal
from tests.pictures import drawn, encoded

FAKE = {"EDGECHAT_ENGINE": "fake"}


def ask(*arguments: str, given: str | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    """A command with `given` at its standard input, which is empty else."""
    return subprocess.run(
        [str(EDGECHAT), *arguments],
        input=given or "",
        capture_output=True,
        text=True,
        env=os.environ | environ,
        timeout=60,
        check=False,
    )


@pytest.fixture
def model(fake_model: FakeModel) -> str:
    return str(fake_model(replies={"count": rambling(40_000)}, step_ms=5))


@pytest.mark.parametrize(
    ("arguments", "given", "answer"),
    [
        (["chat", "What is 2+2?"], None, "You said: What is 2+2?\n"),
        (["chat", "What", "is", "it?"], None, "You said: What is it?\n"),
        (["chat"], "def f():\n\n    return 1\n", "You said: def f():\n\n    return 1\n"),
        (["chat", "Explain:"], "x = 1\n", "You said: Explain:\n\nx = 1\n"),
        (["chat", "你好"], None, "You said: 你好\n"),
        (["chat", "[bold]x[/bold] :smile:"], None, "You said: [bold]x[/bold] :smile:\n"),
    ],
)
def test_one_question_gets_its_answer_and_nothing_else(
    model: str, arguments: list[str], given: str | None, answer: str
) -> None:
    told = ask(*arguments, given=given, EDGECHAT_MODEL=model, **FAKE)
    assert (told.returncode, told.stdout) == (0, answer), told.stderr


def test_run_takes_the_model_first(model: str) -> None:
    told = ask("run", model, "Hello", **FAKE)
    assert (told.returncode, told.stdout) == (0, "You said: Hello\n"), told.stderr
    assert "fake" in told.stderr  # how it was loaded is told there


@pytest.mark.parametrize(
    ("arguments", "word", "status"),
    [
        (["chat"], "nothing was asked", 2),
        (["chat", "c-12ab"], "--resume", 2),
        (["chat", "--resume", "More"], "no conversation to go on with", 1),
        (["run", "no-such-model", "Hello"], "no-such-model", 2),
    ],
)
def test_mistakes_are_one_line_on_standard_error(arguments: list[str], word: str, status: int) -> None:
    told = ask(*arguments)
    assert told.stdout == ""
    assert word in told.stderr
    assert len(told.stderr.splitlines()) == 1
    assert told.returncode == status


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_what_is_no_text_is_refused_before_a_model_is_loaded(locale: str) -> None:
    hello = "你好".encode("gbk")
    for words, given in [([], hello), ([os.fsdecode(hello)], b"")]:
        told = subprocess.run(
            [str(EDGECHAT), "chat", *words],
            input=given,
            capture_output=True,
            env=os.environ | {"LC_ALL": locale},
            check=False,
        )
        assert (told.returncode, told.stdout) == (2, b"")
        assert told.stderr.startswith(b"edgechat: the question is not text in UTF-8")


@pytest.mark.parametrize(
    ("command", "status", "complaint"),
    [
        ("chat Hello <&-", 0, ""),
        ("chat Hello </dev/null >&-", 0, ""),
        ("models 2>&-", 0, ""),
        ("models >/dev/full", 3, "edgechat: standard output cannot be written: No space left on device.\n"),
        (
            "chat Hello </dev/null >/dev/full",
            3,
            "edgechat: standard output cannot be written: No space left on device.\n",
        ),
    ],
)
def test_streams_that_are_closed_or_full_end_in_no_traceback(
    model: str, command: str, status: int, complaint: str
) -> None:
    environ = os.environ | FAKE | {"EDGECHAT_MODEL": model}
    told = subprocess.run(f"{EDGECHAT} {command}", shell=True, capture_output=True, text=True, env=environ, check=False)
    assert told.returncode == status, told.stderr
    assert told.stderr.endswith(complaint)
    assert "Traceback" not in told.stderr


def test_an_answer_that_the_terminal_cannot_show_is_no_error(model: str) -> None:
    told = ask("chat", "你好", EDGECHAT_MODEL=model, PYTHONIOENCODING="latin-1", PYTHONUTF8="0", **FAKE)
    assert (told.returncode, told.stdout) == (0, "You said: ??\n"), told.stderr


def test_ctrl_c_before_it_began_leaves_no_traceback(tmp_path: Path) -> None:
    """On a slow machine most of a second goes by in imports."""
    begin = "import importlib, os, signal\nreal = importlib.import_module\n"
    press = "def pressed(name):\n    os.kill(os.getpid(), signal.SIGINT)\n    return real(name)\n"
    (tmp_path / "sitecustomize.py").write_text(f"{begin}{press}importlib.import_module = pressed\n")
    told = ask("models", PYTHONPATH=str(tmp_path))
    assert (told.returncode, told.stdout, told.stderr) == (-signal.SIGINT, "", "")


def test_what_nobody_looked_for_is_one_line_too(tmp_path: Path) -> None:
    """And shown whole for the asking."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import psutil\npsutil.virtual_memory = lambda: 1 / 0\n")
    told = ask("doctor", PYTHONPATH=str(tmp_path / "site"))
    assert (
        told.stderr == "edgechat: edgechat failed inside (ZeroDivisionError); EDGECHAT_LOG_LEVEL=debug shows where.\n"
    )
    assert told.returncode == 1
    assert "Traceback" in ask("doctor", PYTHONPATH=str(tmp_path / "site"), EDGECHAT_LOG_LEVEL="debug").stderr


def test_a_system_without_proc_is_told_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import psutil\npsutil.PROCFS_PATH = '/proc/nowhere'\n")
    told = ask("doctor", PYTHONPATH=str(tmp_path))
    assert told.stderr.startswith("edgechat: /proc is not there"), told.stderr
    assert (told.returncode, told.stderr.count("\n")) == (1, 1)


def test_a_conversation_goes_on_from_a_pipe(model: str, tmp_path: Path) -> None:
    ask("chat", "One", EDGECHAT_MODEL=model, **FAKE)
    told = ask("chat", "--resume", given="Two", EDGECHAT_MODEL=model, **FAKE)
    assert told.stdout == "You said: Two\n"
    history = History(tmp_path / "home")
    history.open()
    (head,) = history.read(conversations.page, "").result().conversations
    messages = history.read(conversations.get, "", head.id).result().messages
    assert [one.content for one in messages if one.role == "user"] == ["One", "Two"]
    history.close()


@pytest.fixture
def server(model: str) -> Iterator[Server]:
    with serve("--model", model, **FAKE) as server:
        server.ready()
        yield server


def test_chat_talks_to_the_running_server(server: Server, tmp_path: Path) -> None:
    """Without another worker, whatever else the settings of the command would say."""
    told = ask("chat", "Hello", EDGECHAT_MODEL="no-such-model")
    assert (told.returncode, told.stdout, told.stderr) == (0, "You said: Hello\n", "")
    terminal = Terminal("chat")
    terminal.until("› ")
    terminal.type("count\n")
    terminal.until("1 2 3 4")
    terminal.type("\x03")
    terminal.until("[stopped]")
    terminal.until("› ")
    terminal.type("more\n")
    terminal.until("You said: more")
    terminal.until("› ")
    terminal.type("\x04")
    assert terminal.process.wait(10) == 0
    terminal.close()
    history = History(tmp_path / "home")
    history.open()
    assert len(history.read(conversations.page, "").result().conversations) == 2
    history.close()


def test_ctrl_c_ends_one_answer_on_the_server_too(server: Server) -> None:
    asking = subprocess.Popen([str(EDGECHAT), "chat", "count"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert asking.stdout is not None
    assert asking.stdout.read(7) == b"0 1 2 3"
    asking.send_signal(signal.SIGINT)
    assert asking.wait(10) == 130
    asking.stdout.close()
    (head,) = json.loads(ask("history", "list", "--json").stdout)
    tree = json.loads(ask("history", "show", head["id"], "--json").stdout)
    assert [one["status"] for one in tree["messages"]] == ["complete", "stopped"]


def test_a_reader_that_goes_ends_the_answer(server: Server) -> None:
    """`edgechat chat … | head -1`, and a look at a server that would go on for ever."""
    for arguments, status in [(["chat", "count"], 128 + signal.SIGPIPE), (["status", "--watch"], 0)]:
        asking = subprocess.Popen(
            [str(EDGECHAT), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert asking.stdout is not None
        assert asking.stdout.read(7)
        asking.stdout.close()
        assert asking.wait(20) == status
        assert asking.stderr is not None
        assert asking.stderr.read() == b""
        asking.stderr.close()


def test_a_server_that_goes_is_told(server: Server) -> None:
    asking = subprocess.Popen(
        [str(EDGECHAT), "chat", "count"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert asking.stdout is not None
    assert asking.stdout.read(7) == b"0 1 2 3"
    server.process.kill()
    _, complained = asking.communicate(timeout=20)
    assert asking.returncode == 1
    assert b"does not answer any more" in complained
    assert b"Traceback" not in complained


def test_stop_ends_the_server_and_both_say_so(server: Server) -> None:
    told = ask("stop")
    assert told.returncode == 0, told.stderr
    assert told.stdout.endswith("Stopped.\n")
    assert server.process.wait(20) == 0
    server.finish()
    assert "Stopping: answers in progress have 10 seconds to finish." in server.words
    assert server.output[-1] == "edgechat has stopped.\n"
    again = ask("stop")
    assert again.returncode == 1
    assert "no server runs from" in again.stderr


def test_where_the_command_is_not_known_the_server_says_how_it_becomes_so(model: str) -> None:
    """As behind `make serve`, whose shell knows nothing of .venv."""
    with serve("--model", model, **FAKE | {"PATH": "/usr/bin:/bin"}) as server:
        assert server.said(r"In a second terminal.*: \. (\S+)", 30).endswith("/bin/activate")


def test_open_shows_the_page_in_the_browser(model: str, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {seen}\n')
    browser.chmod(0o755)
    with serve("--model", model, "--open", BROWSER=f"{browser} %s", **FAKE) as server:
        url = server.ready()
        deadline = time.monotonic() + 20
        while not (seen.exists() and seen.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert seen.read_text().strip() == f"{url}/"


def test_a_server_for_everybody_names_an_address_that_can_be_opened(model: str) -> None:
    """Where the machine has no other than its own, that one."""
    assert ask("key", "add", "me", "--operator").returncode == 0
    with serve("--model", model, "--host", "0.0.0.0", "--port", str(free_port()), **FAKE) as server:
        page = server.said(r"Page: http://(\S+)/ ", 30)
        assert not page.startswith("0.0.0.0")


@pytest.mark.parametrize("name", ["list", "ls", "rm", "ps", "help"])
def test_other_programs_names_lead_to_ours(name: str) -> None:
    told = ask(name, "-h")
    assert told.returncode == 0
    assert "Usage: edgechat" in told.stdout
    assert f"\n  {name} " not in ask("-h").stdout


def test_help_is_whole_at_80_columns() -> None:
    for group in ([], ["history"], ["key"]):
        told = ask(*group, "-h", COLUMNS="80")
        assert "..." not in told.stdout.partition("Commands:")[2]
        assert all(len(line) <= 80 for line in told.stdout.splitlines())
    assert ask("-V").stdout == ask("--version").stdout
    assert ask("help").stdout.startswith("Usage: edgechat [OPTIONS] COMMAND")
    assert ask("help", "history", "list").stdout == ask("history", "list", "-h").stdout


# ── pictures ──


@pytest.fixture
def flag(tmp_path: Path) -> str:
    path = tmp_path / "flag.png"
    path.write_bytes(encoded(drawn(), "PNG"))
    return str(path)


@pytest.fixture
def seeing(fake_model: FakeModel) -> str:
    return str(fake_model(senses=["picture"], reply="A flag."))


def test_a_question_may_be_about_pictures(seeing: str, flag: str, tmp_path: Path) -> None:
    home = {"EDGECHAT_HOME": str(tmp_path / "home")}
    told = ask("chat", "--image", flag, "--image", flag, "What is it?", EDGECHAT_MODEL=seeing, **FAKE, **home)
    assert (told.returncode, told.stdout) == (0, "A flag.\n"), told.stderr
    history = History(tmp_path / "home")
    history.open()
    (head,) = history.read(conversations.page, "", query="flag.png").result().conversations
    question, _ = history.read(conversations.get, "", head.id).result().messages
    assert [one.name for one in question.attachments] == ["flag.png"] * 2
    history.close()


@pytest.mark.parametrize(
    ("file", "word", "status"),
    [("no-such.png", "no-such.png cannot be read: No such file", 2), (__file__, "is no picture of these kinds: ", 2)],
)
def test_what_is_no_picture_is_one_line(seeing: str, file: str, word: str, status: int) -> None:
    told = ask("chat", "--image", file, "What is it?", EDGECHAT_MODEL=seeing, **FAKE)
    assert (told.stdout, told.returncode) == ("", status)
    assert word in told.stderr


def test_a_model_that_does_not_see_says_so(model: str, flag: str) -> None:
    told = ask("chat", "--image", flag, "What is it?", EDGECHAT_MODEL=model, **FAKE)
    assert (told.stdout, told.returncode) == ("", 1)
    assert "an image/png cannot be read: no model here takes pictures." in told.stderr


def test_pictures_beside_a_server_and_line_by_line(seeing: str, flag: str) -> None:
    with serve("--engine", "fake", "--model", seeing) as server:
        server.ready()
        told = ask("chat", "--image", flag, "What is it?")
        assert (told.returncode, told.stdout) == (0, "A flag.\n"), told.stderr
        terminal = Terminal("chat")
        try:
            terminal.until("› ")
            terminal.type("/image no-such.png\r")
            terminal.until("cannot be read")
            terminal.type(f"/image '{flag}'\r")
            terminal.until("[flag.png]")
            terminal.type("What is it?\r")
            terminal.until("A flag.")
            terminal.type("\x04")
        finally:
            terminal.close()


@pytest.mark.parametrize("language", ["C", "zh_CN.UTF-8"])
def test_tables_fit_80_columns(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, at a terminal: no line is longer, and nothing is cut off."""
    monkeypatch.setenv("LC_ALL", language)
    monkeypatch.setenv("COLUMNS", "80")
    terminal = Terminal("models")
    shown = terminal.until("smollm2-135m-instruct")
    terminal.process.wait(20)
    terminal.close()
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in shown.splitlines()]
    assert any("tongyi-qianwen-research" in line for line in lines)
    assert all(cell_len(line) <= 80 and "…" not in line for line in lines)
