"""What was read is not read again, not even by the next process."""

import json
import signal
import time
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.e2e.conftest import Server, serve

pytestmark = pytest.mark.model
LONG = "Remember this list of words for later. " + "bread rain stone river lamp chair window garden " * 20


def ask(server: Server, turns: list[dict[str, str]]) -> dict[str, Any]:
    body = json.dumps({"messages": turns, "max_tokens": 16, "temperature": 0}).encode()
    request = Request(f"{server.url()}/v1/chat/completions", body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=60) as answer:
        return json.load(answer)  # type: ignore[no-any-return]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_the_next_turn_after_a_restart_comes_from_the_disk(end: signal.Signals, smollm2: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    arguments = ("--model", str(smollm2), "--home", str(home), "--context", "2048")
    with serve(*arguments) as server:
        server.ready()
        turns = [{"role": "user", "content": LONG}]
        first = ask(server, turns)
        if end == signal.SIGKILL:  # what is idle is on the disk soon
            deadline = time.monotonic() + 10
            while not list((home / "prefixes").glob("*.kv")):
                assert time.monotonic() < deadline
                time.sleep(0.1)
        server.process.send_signal(end)
        server.process.wait(15)
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in (home / "prefixes").iterdir())
    turns += [first["choices"][0]["message"], {"role": "user", "content": "Which was the first word?"}]
    turns[1].pop("refusal", None)
    with serve(*arguments) as server:
        server.ready()
        second = ask(server, turns)
        again = ask(server, [{"role": "user", "content": LONG[:600] + " Something else."}])
    held = first["usage"]["prompt_tokens"]
    assert second["edgechat"]["cached_tokens"] >= held
    assert again["edgechat"]["cached_tokens"] > 50  # a branch shares what it has in common
