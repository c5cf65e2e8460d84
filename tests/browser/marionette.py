"""Debian's Firefox by its own remote protocol, as far as a few tests need it: Playwright drives none but its own.

A command is `[0, number, name, parameters]` as JSON, behind its length and a colon; an answer is `[1, number, error,
value]`.
"""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

START_S = 60
PREFERENCES = """
user_pref("marionette.port", 0);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("app.normandy.enabled", false);
"""


class Firefox:
    """A browser with one page."""

    def __init__(self, port: int) -> None:
        self._line = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._stream = self._line.makefile("rb")
        self._number = 0
        self._receive()  # it says who it is
        self._ask("WebDriver:NewSession", {})

    def open(self, address: str) -> None:
        """Load a page."""
        self._ask("WebDriver:Navigate", {"url": address})

    def run(self, script: str, *arguments: Any) -> Any:
        """What the body of a function returns."""
        return self._ask("WebDriver:ExecuteScript", {"script": script, "args": list(arguments)})["value"]

    def wheel(self, x: int, y: int, by: int) -> None:
        """Turn the wheel over a point; upwards is negative."""
        turn = {"type": "scroll", "x": x, "y": y, "deltaX": 0, "deltaY": by, "duration": 0, "origin": "viewport"}
        self._ask("WebDriver:PerformActions", {"actions": [{"type": "wheel", "id": "wheel", "actions": [turn]}]})

    def close(self) -> None:
        """Let go of the browser."""
        self._stream.close()
        self._line.close()

    def _ask(self, name: str, parameters: dict[str, Any]) -> Any:
        self._number += 1
        raw = json.dumps([0, self._number, name, parameters]).encode()
        self._line.sendall(b"%d:%s" % (len(raw), raw))
        _, number, error, value = self._receive()
        assert number == self._number
        assert error is None, error
        return value

    def _receive(self) -> Any:
        length = b""
        while not length.endswith(b":"):
            length += self._stream.read(1)
        return json.loads(self._stream.read(int(length[:-1])))


@contextmanager
def firefox(profile: Path) -> Iterator[Firefox]:
    """A browser in an empty profile. Skips the test where there is none."""
    program = shutil.which("firefox-esr") or shutil.which("firefox")
    if program is None:
        pytest.skip("firefox is not installed: apt-get install firefox-esr")
    profile.mkdir()
    (profile / "user.js").write_text(PREFERENCES)
    command = [program, "--headless", "--marionette", "--no-remote", "--profile", str(profile)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        browser = Firefox(_port(profile / "MarionetteActivePort", process))
        try:
            yield browser
        finally:
            browser.close()
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()


def _port(file: Path, process: "subprocess.Popen[bytes]") -> int:
    deadline = time.monotonic() + START_S
    while not (file.exists() and file.read_text()):
        assert process.poll() is None, f"firefox did not start: {process.returncode}"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return int(file.read_text())
