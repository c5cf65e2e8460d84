"""The end of a server, as signals bring it about: polite, in time, and with nothing left behind."""

import json
import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.conftest import FakeModel
from tests.e2e.conftest import EDGECHAT, Server, run, serve

DRAIN = {"EDGECHAT_DRAIN": "2"}
COUNTING = " ".join(map(str, range(20_000)))
SLOW: dict[str, Any] = {"reply": COUNTING, "step_ms": 20, "context": 120_000}


class Reader(threading.Thread):
    """Reads a stream to its end; `text` is all of it."""

    def __init__(self, url: str, tokens: int) -> None:
        super().__init__(daemon=True)
        self.text = ""
        self._url, self._tokens = url, tokens
        self.start()

    def run(self) -> None:
        body = {"messages": [{"role": "user", "content": "x"}], "stream": True, "max_tokens": self._tokens}
        with (
            suppress(httpx.HTTPError),
            httpx.stream("POST", f"{self._url}/v1/chat/completions", json=body, timeout=60) as answer,
        ):
            for part in answer.iter_text():
                self.text += part

    def reading(self) -> "Reader":
        """Wait for the first text."""
        deadline = time.monotonic() + 20
        while '"content":"0' not in self.text:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return self


def family(server: Server) -> list[psutil.Process]:
    process = psutil.Process(server.process.pid)
    return [process, *process.children(recursive=True)]


def test_sigterm_lets_running_answers_finish_and_turns_new_ones_away(fake_model: FakeModel) -> None:
    with serve("--engine", "fake", "--model", str(fake_model(**SLOW)), EDGECHAT_DRAIN="30") as server:
        url = server.ready()
        reader = Reader(url, 150).reading()
        everyone = family(server)
        server.process.send_signal(signal.SIGTERM)
        server.until_state("draining")
        late = httpx.post(f"{url}/v1/chat/completions", json={"messages": [{"role": "user", "content": "x"}]})
        assert (late.status_code, late.json()["error"]["code"]) == (503, "server_shutting_down")
        assert int(late.headers["retry-after"]) > 0
        assert httpx.post(f"{url}/api/runs", json={"content": "x"}).status_code == 503
        assert httpx.get(f"{url}/healthz").status_code == 200
        reader.join(30)
        assert reader.text.endswith("data: [DONE]\n\n")
        assert server.process.wait(10) == 0
        assert not any(one.is_running() for one in everyone[1:])


def test_an_operator_ends_it_as_sigterm_does(fake_model: FakeModel) -> None:
    with serve("--engine", "fake", "--model", str(fake_model(**SLOW)), EDGECHAT_DRAIN="30") as server:
        url = server.ready()
        reader = Reader(url, 100).reading()
        assert httpx.put(f"{url}/api/dash/state", json={"state": "draining"}).status_code == 202
        reader.join(30)
        assert reader.text.endswith("data: [DONE]\n\n")
        assert server.process.wait(10) == 0


def test_what_does_not_finish_in_time_ends_with_an_error_event(fake_model: FakeModel) -> None:
    with serve("--engine", "fake", "--model", str(fake_model(**SLOW)), **DRAIN) as server:
        reader = Reader(server.ready(), 100_000).reading()
        everyone = family(server)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        print(f"exit {time.monotonic() - began:.2f} s after SIGTERM, with a drain of 2 s")
        reader.join(10)
        assert "server_shutting_down" in reader.text.rpartition("data: ")[2]
        assert "[DONE]" not in reader.text
        assert 'finish_reason":"' not in reader.text
        assert not any(one.is_running() for one in everyone[1:])


def test_a_run_of_the_page_is_kept_as_far_as_it_came(fake_model: FakeModel) -> None:
    model = str(fake_model(**SLOW))
    with serve("--engine", "fake", "--model", model, EDGECHAT_DRAIN="0.5") as server:
        url = server.ready()
        body = {"content": "x", "params": {"max_tokens": 5_000}}
        run_id = httpx.post(f"{url}/api/runs", json=body).json()["run_id"]
        with httpx.stream("GET", f"{url}/api/runs/{run_id}/events", timeout=30) as events:
            for line in events.iter_lines():
                if line.startswith("event: delta"):
                    server.process.send_signal(signal.SIGTERM)
                    break
        assert server.process.wait(30) == 0
    with serve("--engine", "fake", "--model", model) as server:
        found = httpx.get(f"{server.url()}/api/conversations").json()
        id = (found["conversations"] if isinstance(found, dict) else found)[0]["id"]
        answer = httpx.get(f"{server.url()}/api/conversations/{id}").json()["messages"][-1]
        assert answer["status"] == "interrupted"
        assert COUNTING.startswith(answer["content"])
        assert answer["content"]


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(fake_model: FakeModel, second: signal.Signals) -> None:
    with serve("--engine", "fake", "--model", str(fake_model(**SLOW)), EDGECHAT_DRAIN="600") as server:
        Reader(server.ready(), 100_000).reading()
        everyone = family(server)
        server.process.send_signal(signal.SIGTERM)
        server.until_state("draining")
        server.process.send_signal(second)
        server.process.wait(20)
        _, alive = psutil.wait_procs(everyone, timeout=5)
        assert not alive


def test_signals_while_loading_end_it_too(fake_model: FakeModel) -> None:
    with serve("--engine", "fake", "--model", str(fake_model(load_ms=60_000))) as server:
        server.url()
        server.until_state("loading")
        everyone = family(server)
        server.process.send_signal(signal.SIGHUP)
        server.process.wait(20)
        _, alive = psutil.wait_procs(everyone, timeout=5)
        assert not alive


def test_a_second_server_on_the_same_home_says_who_has_it(fake_model: FakeModel) -> None:
    model = str(fake_model())
    with serve("--engine", "fake", "--model", model) as server:
        server.ready()
        ended = run("serve", "--port", "0", "--engine", "fake", "--model", model)
        assert ended.returncode == 4
        assert f"process {server.process.pid} at {server.url()}" in ended.stderr
        server.process.kill()
        server.process.wait()
    with serve("--engine", "fake", "--model", model) as server:  # the lock of a dead server is no lock
        server.ready()


def test_a_closed_standard_output_stops_nothing(fake_model: FakeModel, tmp_path: Path) -> None:
    read, write = os.pipe()
    command = [str(EDGECHAT), "serve", "--port", "0", "--engine", "fake", "--model", str(fake_model())]
    with subprocess.Popen(command, stdout=write, stderr=write) as process:
        os.close(write)
        said = b""
        while b"listens on" not in said:
            said += os.read(read, 4096)
        os.close(read)
        card = json.loads((tmp_path / "home" / "server.json").read_text())
        deadline = time.monotonic() + 20
        while httpx.get(f"{card['url']}/readyz").status_code != 200:
            assert time.monotonic() < deadline
            assert process.poll() is None
        for _ in range(3):
            assert httpx.post(f"{card['url']}/chat", json={"input": "x"}).status_code == 200
        process.terminate()
        assert process.wait(20) == 0
