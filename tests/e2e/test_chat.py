"""The terminal chat, as a person types it: a real terminal, a fake engine that takes its time."""

import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgechat.history import conversations
from edgechat.history.store import History
from tests.conftest import FakeModel, rambling

EDGECHAT = Path(sys.executable).with_name("edgechat")


def _take_the_terminal() -> None:
    """Make it this process's own, so that Ctrl-C reaches it; also where the tests run in the background."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """A terminal with `edgechat ARGUMENTS` in it."""

    def __init__(self, *arguments: str) -> None:
        self.screen, inside = pty.openpty()
        self.process = subprocess.Popen(
            [str(EDGECHAT), *arguments],
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
            preexec_fn=_take_the_terminal,
            env=os.environ | {"TERM": "xterm"},
        )
        os.close(inside)

    def type(self, keys: str) -> None:
        os.write(self.screen, keys.encode())

    def until(self, text: str, seconds: float = 20) -> str:
        """What appears up to and with `text`."""
        seen, deadline = b"", time.monotonic() + seconds
        while text not in seen.decode(errors="replace"):
            assert time.monotonic() < deadline, seen
            if select.select([self.screen], [], [], 0.2)[0]:
                seen += os.read(self.screen, 1)
        return seen.decode(errors="replace")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.screen)


@pytest.fixture
def terminal(fake_model: FakeModel) -> Iterator[Terminal]:
    script = fake_model(replies={"count": rambling(3600)}, step_ms=10)
    terminal = Terminal("chat", "--engine", "fake", "--model", str(script))
    yield terminal
    terminal.close()


def test_ctrl_c_stops_the_answer_and_not_the_program(terminal: Terminal) -> None:
    terminal.until("› ")
    terminal.type("count\n")
    terminal.until("1 2 3 4")
    terminal.type("\x03")
    terminal.until("[stopped]")
    terminal.until("› ")
    terminal.type("你好\n")
    assert "You said: 你好" in terminal.until("› ")
    terminal.type("\x03")
    terminal.until("Ctrl-D: end")
    terminal.until("› ")
    terminal.type("\x04")
    assert terminal.process.wait(10) == 0


def test_what_happens_before_the_first_word_is_told(fake_model: FakeModel) -> None:
    terminal = Terminal("chat", "--engine", "fake", "--model", str(fake_model(reply="Read.", step_ms=50)))
    terminal.until("› ")
    terminal.type(f"{'much to read ' * 80}\n")
    terminal.until("reading ")
    terminal.until("Read.")
    terminal.close()


def test_new_starts_over_and_other_commands_are_explained(terminal: Terminal) -> None:
    terminal.until("› ")
    terminal.type("/what\n")
    terminal.until("/new: start over")
    terminal.type("/new\n")
    terminal.until("› ")
    terminal.type("/exit\n")
    assert terminal.process.wait(10) == 0


def test_a_conversation_is_kept_and_gone_on_with(fake_model: FakeModel, tmp_path: Path) -> None:
    script = str(fake_model(replies={"如何排序？": "用快速排序。"}))
    for arguments, line, answer in [
        (("--system", "Be brief."), "如何排序？", "用快速排序。"),
        (("--resume",), "more", "You said: more"),
    ]:
        terminal = Terminal("chat", *arguments, "--engine", "fake", "--model", script)
        terminal.until("› ")
        terminal.type(f"{line}\n")
        terminal.until(answer)
        terminal.until("› ")
        terminal.type("\x04")
        terminal.process.wait(20)
        terminal.close()
    history = History(tmp_path / "home")
    history.open()
    (head,) = history.read(conversations.page, "").result().conversations
    messages = history.read(conversations.get, "", head.id).result().messages
    assert [one.content for one in messages] == ["如何排序？", "用快速排序。", "more", "You said: more"]
    assert [one.params for one in messages[1::2]] == [{"system": "Be brief."}] * 2
    history.close()


def test_several_lines_are_one_question(fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pasted at once, between quotation marks, or with a backslash at the end of a line."""
    monkeypatch.setenv("EDGECHAT_ENGINE", "fake")
    terminal = Terminal("run", str(fake_model()))
    terminal.until("› ")
    for typed, heard in [
        ("\x1b[200~def f():\n    return 1\x1b[201~\n", ["def f():", "    return 1"]),
        ('"""one\n', []),
        ('two"""\n', ["one", "two"]),
        ("red\\\n", []),
        ("green\n", ["red", "green"]),
    ]:
        terminal.type(typed)
        seen = terminal.until("› " if heard else "… ")
        if heard:
            assert "You said: " + "\n".join(heard) in seen.replace("\r", "")
    terminal.type("/bye\n")
    assert terminal.process.wait(10) == 0
    terminal.close()
