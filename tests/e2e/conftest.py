"""The command as a person runs it: a process, an address, its words."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import httpx
import openai
import pytest

from tests.api.conftest import serving

EDGECHAT = Path(sys.executable).with_name("edgechat")
SERVE = (str(EDGECHAT), "serve", "--port", "0")


class Server:
    """A running `edgechat serve`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.output: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)

    def finish(self) -> None:
        """Read to the end of what it said."""
        self._reader.join()

    @property
    def words(self) -> str:
        return "".join(self.output)

    def url(self, seconds: float = 60) -> str:
        return self.said(r"listens on (http://\S+)", seconds)

    def said(self, pattern: str, seconds: float) -> str:
        """The first group of `pattern` in what the process said, waited for."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.words)):
            assert time.monotonic() < deadline, f"never said {pattern}: {self.words}"
            assert self.process.poll() is None or re.search(pattern, self.words), f"ended: {self.words}"
            time.sleep(0.02)
        return found[1]

    def readiness(self) -> dict[str, Any]:
        try:
            with urlopen(f"{self.url()}/readyz", timeout=5) as answer:
                return json.load(answer)  # type: ignore[no-any-return]
        except HTTPError as error:
            return json.load(error)  # type: ignore[no-any-return]

    def until_state(self, state: str, seconds: float = 20) -> None:
        """Wait until /readyz says `state`."""
        deadline = time.monotonic() + seconds
        while self.readiness()["state"] != state:
            assert time.monotonic() < deadline, self.words
            time.sleep(0.02)

    def ready(self, seconds: float = 30) -> str:
        """Wait until the model answers; returns the address."""
        deadline = time.monotonic() + seconds
        while self.readiness()["state"] != "ready":
            assert time.monotonic() < deadline, self.words
            assert self.process.poll() is None, self.words
            time.sleep(0.05)
        return self.url()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def serve(*arguments: str, **environ: str) -> AbstractContextManager[Server]:
    """`edgechat serve ARGUMENTS` on a free port, ended at the end."""
    return started([*SERVE, *arguments], environ)


@contextmanager
def started(command: Sequence[str], environ: Mapping[str, str], user: int | None = None) -> Iterator[Server]:
    """A server that `command` starts, as another `user` if there is one; ended at the end."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | environ, user=user
    ) as process:
        server = Server(process)
        try:
            yield server
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
            server.finish()


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    return subprocess.run(
        [str(EDGECHAT), *arguments], capture_output=True, text=True, env=os.environ | environ, timeout=60, check=False
    )


@pytest.fixture(scope="package")
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a server with a real model, a smaller one unless there is time."""
    model: Path = request.getfixturevalue("qwen" if "EDGECHAT_TORTURE" in os.environ else "smollm2")
    with (
        serving(model, tmp_path_factory.mktemp("real"), engine="llama_cpp", context=2048) as base,
        httpx.Client(base_url=base, timeout=300) as client,
    ):
        yield client


@pytest.fixture(scope="package")
def official(qwen: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    """A client of a server with the 0.5B Qwen."""
    home = tmp_path_factory.mktemp("official")
    with (
        serving(qwen, home, engine="llama_cpp", context=2048) as base,
        openai.OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0, timeout=300) as client,
    ):
        yield client
