"""A server that starts by itself: the service file of whoever is logged in."""

import os
import sys
from pathlib import Path

import pytest

from edgechat import presence
from tests.e2e.conftest import EDGECHAT
from tests.e2e.test_terminal import ask


@pytest.mark.skipif(sys.platform == "darwin", reason="systemd is Linux's")
def test_autostart_writes_a_user_s_service_and_takes_it_away(tmp_path: Path) -> None:
    said = tmp_path / "said"
    manager = tmp_path / "bin" / "systemctl"
    manager.parent.mkdir()
    manager.write_text(f'#!/bin/sh\necho "$@" >> {said}\n')
    manager.chmod(0o755)
    there = {"PATH": f"{manager.parent}:{os.environ['PATH']}", "XDG_CONFIG_HOME": str(tmp_path / "config of me")}
    unit = Path(there["XDG_CONFIG_HOME"]) / "systemd" / "user" / "edgechat.service"
    printed = ask("autostart", "--print", **there)
    assert not unit.exists()
    told = ask("autostart", **there)
    assert told.returncode == 0, told.stderr
    assert unit.read_text() == printed.stdout
    assert f'ExecStart="{EDGECHAT}" "serve" "--home" "{tmp_path / "home"}"' in printed.stdout
    assert ask("autostart", "--off", **there).returncode == 0
    assert not unit.exists()
    again = ask("autostart", "--off", **there)
    assert (again.returncode, "nothing to undo" in again.stdout + again.stderr) == (0, True)
    assert said.read_text().splitlines() == [
        "--user daemon-reload",
        "--user enable --now edgechat.service",
        "--user disable --now edgechat.service",
    ]
    (tmp_path / "home").mkdir(exist_ok=True)
    presence.leave(tmp_path / "home", "http://127.0.0.1:1")  # a server that runs has the home: another would end
    told = ask("autostart", **there)
    assert "goes on until then" in " ".join((told.stdout + told.stderr).split())
    assert said.read_text().splitlines()[3:] == ["--user daemon-reload", "--user enable edgechat.service"]
    manager.write_text("#!/bin/sh\necho 'Failed to connect to bus' >&2\nexit 1\n")
    failed = ask("autostart", **there)
    assert failed.returncode == 1
    assert "Failed to connect to bus" in failed.stderr
