"""The download process by itself: letters only on its stdout, and no life after its parent."""

import os
import subprocess
from pathlib import Path

from edgechat.hub.letters import AnyAnswer, Failed, Order, Resolved, from_child
from edgechat.process import frames
from edgechat.process.spawn import spawn
from tests.hub.conftest import TINY, TINY_FILE, Bench, made_up, sha256


def asked(process: "subprocess.Popen[bytes]", order: Order) -> AnyAnswer | None:
    """The child's first answer."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(frames.pack(order))
    process.stdin.flush()
    return frames.read(process.stdout, from_child)


def test_it_resolves_and_ends_with_its_parent(bench: Bench, tmp_path: Path) -> None:
    with spawn("edgechat.hub.child", environment=os.environ) as process:
        answer = asked(process, Order(TINY, {"endpoint": bench.hub.url, "scratch": str(tmp_path)}, 60.0))
        assert isinstance(answer, Resolved)
        (file,) = answer.manifest.files
        assert (file.path, file.sha256) == (TINY_FILE, sha256(made_up()))
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(5) != 0


def test_an_error_is_a_letter_and_not_a_traceback(tmp_path: Path) -> None:
    with spawn("edgechat.hub.child", environment=os.environ) as process:
        answer = asked(process, Order(TINY, {"nonsense": "1"}, 60.0))
        assert process.wait(5) == 1
        assert process.stderr is not None
        err = process.stderr.read()
    assert isinstance(answer, Failed)
    assert answer.code == "hub_failed"
    assert "\n" not in answer.message
    assert b"Traceback" not in err
