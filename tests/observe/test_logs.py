"""Logs: nothing private, no forged lines, never in the way."""

import io
import json
import logging
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from edgechat.observe import logs
from edgechat.observe.logs import DAY_S, LogFile, Sink

CANARY = "ec-CANARY0123456789abcdefghijklmnop"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


@pytest.mark.parametrize("form", ["human", "json"])
def test_a_line_stays_a_line(capsys: pytest.CaptureFixture[str], form: str) -> None:
    logs.configure("info", form)  # type: ignore[arg-type]
    structlog.get_logger().info("asked", agent="x\r\nFORGED \x1b[2J\u2028FORGED", listed=["a\nFORGED"])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "\x1b[2J" not in lines[0]
    assert lines[0].count("FORGED") == 3


@pytest.mark.parametrize(
    "secret", [CANARY, f"Bearer {CANARY}", "bearer abc", "sk-0123456789abcdef0", "hf_0123456789abcdef"]
)
def test_what_looks_like_a_key_is_blotted_out(capsys: pytest.CaptureFixture[str], secret: str) -> None:
    logs.configure("info", "json")
    structlog.get_logger().info(f"event {secret}", value=f"x {secret}", deep={"a": [secret]})
    logging.getLogger("library").warning("header %s", secret)
    err = capsys.readouterr().err
    assert secret.split()[-1] not in err
    assert err.count("[key]") == 4


@pytest.mark.parametrize(("level", "shown"), [("info", False), ("debug", True)])
def test_an_exceptions_message_is_only_for_those_who_ask(
    capsys: pytest.CaptureFixture[str], level: str, shown: bool
) -> None:
    logs.configure(level, "json")
    try:
        raise ValueError("the prompt was: canary sentence")
    except ValueError as error:
        structlog.get_logger().exception("a bug")
        structlog.get_logger().error("a bug", exc_info=error)
        logging.getLogger("library").error("oops", exc_info=error)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert len(lines) == 3
    for line in lines:
        assert line["error"].startswith("ValueError")
        assert ("canary" in line["error"]) == shown
        assert line["at"][0].startswith("test_logs.py:")


class Full(io.StringIO):
    """A stream on a disk without room."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_full_disk_and_a_closed_pipe_cost_lines_only() -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (Full(), closed):
        sink, before = Sink(stream, LogFile(Path("/dev/null/no/file"), 100, 1)), Sink.dropped
        sink.msg("lost twice")
        assert Sink.dropped == before + 2


def test_a_pipe_that_nobody_reads_costs_lines_only() -> None:
    """A shell that was stopped, or a viewer that waits for a key, must not stop the server."""
    read, write = os.pipe()
    with os.fdopen(write, "w") as stream, os.fdopen(read, "rb", buffering=0) as reader:
        sink, before = Sink(stream, None), Sink.dropped
        for number in range(100):
            sink.msg(f"{number} {'界' * 2_000}")
        assert Sink.dropped > before
        reader.read(1 << 20)
        dropped = Sink.dropped
        sink.msg("heard again")
        assert (reader.read(100), Sink.dropped) == (b"heard again\n", dropped)


def a_clock(times: list[float]) -> Callable[[], float]:
    return lambda: times[-1]


def test_the_file_begins_anew_by_size_and_by_day_and_the_old_ones_go(tmp_path: Path) -> None:
    times = [1_000_000_000.0]
    path = tmp_path / "log" / "edgechat.log"
    log = LogFile(path, 100, 3, a_clock(times))

    def files() -> list[str]:
        return sorted(one.name for one in path.parent.iterdir())

    log.write("x" * 60 + "\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    log.write("y" * 60 + "\n")
    assert files() == ["edgechat.log", "edgechat.log.20010909-014640"]
    assert path.read_text() == "y" * 60 + "\n"
    times.append(times[-1] + DAY_S)
    log.write("z\n")
    assert len(files()) == 3
    for old in path.parent.glob("edgechat.log.*"):
        os.utime(old, (times[-1], times[-1]))
    times.append(times[-1] - 2 * DAY_S)  # the clock is set back
    log.write("back\n")
    times.append(times[-1] + 7 * DAY_S)
    log.write("later\n")
    assert "later" in path.read_text()
    assert "edgechat.log.20010909-014640" not in files()
    log.close()


def test_the_file_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "edgechat.log"
    for word in ("one", "two"):
        log = LogFile(path, 100, 3)
        log.write(f"{word}\n")
        log.close()
    assert path.read_text() == "one\ntwo\n"
