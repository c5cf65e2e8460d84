"""The download process by itself: letters only on its stdout, and no life after its parent."""

import subprocess
import sys
from pathlib import Path
from typing import IO

from edgechat.hub.source import Failed, Order, Resolved, from_child, pack
from tests.hub.conftest import TINY, TINY_FILE, Bench, made_up, sha256


def child() -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "edgechat.hub.child"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)


def say(stdin: IO[bytes] | None, letter: Order) -> None:
    assert stdin is not None
    stdin.write(pack(letter))
    stdin.flush()


def test_it_resolves_and_ends_with_its_parent(bench: Bench, tmp_path: Path) -> None:
    with child() as process:
        say(process.stdin, Order(TINY, {"endpoint": bench.hub.url, "scratch": str(tmp_path)}, 60.0))
        assert process.stdout is not None
        answer = from_child.decode(process.stdout.readline())
        assert isinstance(answer, Resolved)
        (file,) = answer.manifest.files
        assert (file.path, file.sha256) == (TINY_FILE, sha256(made_up()))
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(5) != 0


def test_an_error_is_a_letter_and_not_a_traceback(tmp_path: Path) -> None:
    with child() as process:
        say(process.stdin, Order(TINY, {"nonsense": "1"}, 60.0))
        assert process.stdout is not None
        answer = from_child.decode(process.stdout.readline())
        assert process.wait(5) == 1
        assert process.stderr is not None
        err = process.stderr.read()
    assert isinstance(answer, Failed)
    assert answer.code == "hub_failed"
    assert "\n" not in answer.message
    assert b"Traceback" not in err
