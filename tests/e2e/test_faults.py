"""The system denies a server what it lives on: files, threads, memory, somebody who reads its words, its database."""

import fcntl
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.conftest import FakeModel
from tests.e2e.conftest import SERVE, Server, run, serve, started
from tests.hub.fakehub import FakeHub

TORTURE = "EDGECHAT_TORTURE" in os.environ
FILES = 64
MUCH = 500 if TORTURE else 100
ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 20}


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def answers(url: str, seconds: float = 30) -> bool:
    """Whether a question is answered, sooner or later, while whatever was wrong is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            if httpx.post(f"{url}/v1/chat/completions", json=ASK, timeout=20).status_code == 200:
                return True
        time.sleep(0.1)
    return False


def limited(limit: str, *arguments: str) -> AbstractContextManager[Server]:
    """A server under a limit of prlimit's."""
    if not shutil.which("prlimit"):
        pytest.skip("prlimit, which limits what a process may have, is not installed")
    return started(["prlimit", limit, *SERVE, *arguments], {})


def seconds_used(server: Server) -> float:
    used = psutil.Process(server.process.pid).cpu_times()
    return float(used.user + used.system)


@contextmanager
def knocking(port: int) -> Iterator[int]:
    """Hundreds of connections that say nothing; yields how many were taken."""
    with ExitStack() as stack:
        taken = 0
        for _ in range(MUCH):
            line = stack.enter_context(socket.socket())
            line.setblocking(False)
            with suppress(BlockingIOError):
                line.connect(("127.0.0.1", port))
            taken += 1
        yield taken


def test_few_open_files_and_many_connections(fake_model: FakeModel) -> None:
    """Started with 64 files: as many connections as leave room for the models and the history."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with limited(f"--nofile={FILES}", "--engine", "fake", "--model", str(fake_model())) as server:
        url = server.ready()
        with knocking(port_of(url)) as taken:
            begun = httpx.post(f"{url}/api/runs", json={"content": "kept"}, timeout=60)
            while begun.status_code == 503:  # until those who say nothing give way
                assert begun.headers["retry-after"]
                time.sleep(0.2)
                begun = httpx.post(f"{url}/api/runs", json={"content": "kept"}, timeout=60)
            assert begun.status_code == 201, begun.text
            most = psutil.Process(server.process.pid).num_fds()
        assert answers(url)
        kept = httpx.get(f"{url}/api/conversations/{begun.json()['conversation_id']}").json()
        assert kept["messages"][0]["content"] == "kept"
    print(f"{taken} connections at {FILES} files: at most {most} were open")
    assert most <= FILES
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


def test_no_file_left_while_it_runs(fake_model: FakeModel) -> None:
    """The limit sinks under the server: it waits, spends nothing on it, and goes on when there is room."""
    with serve("--engine", "fake", "--model", str(fake_model())) as server:
        url = server.ready()
        assert answers(url)
        process = psutil.Process(server.process.pid)
        limit = process.rlimit(psutil.RLIMIT_NOFILE)
        process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds() + 2, limit[1]))
        with knocking(port_of(url)):
            began, used = time.monotonic(), seconds_used(server)
            time.sleep(3 if TORTURE else 1)
            share = (seconds_used(server) - used) / (time.monotonic() - began)
        process.rlimit(psutil.RLIMIT_NOFILE, limit)
        assert answers(url)
        print(f"{MUCH} connections without a file for them: {share:.0%} of a core")
        assert share < 0.5
        assert server.process.poll() is None


def test_words_that_nobody_reads_stop_nothing(fake_model: FakeModel, tmp_path: Path) -> None:
    """A pipe of one page, and nobody at its other end: lines are lost and counted, answers are not."""
    read, write = os.pipe()
    command = [*SERVE, "--engine", "fake", "--model", str(fake_model())]
    with subprocess.Popen(command, stdout=write, stderr=write) as process:
        os.close(write)
        said = b""
        while b"Stop: Ctrl-C" not in said:
            said += os.read(read, 4096)
        fcntl.fcntl(read, fcntl.F_SETPIPE_SZ, 4096)
        url = json.loads((tmp_path / "home" / "server.json").read_text())["url"]
        for _ in range(60):
            assert httpx.post(f"{url}/chat", json={"input": "x"}, timeout=20).status_code == 200
        counted = httpx.get(f"{url}/metrics").text
        process.terminate()
        assert process.wait(20) == 0
        os.close(read)
    (lost,) = [line for line in counted.splitlines() if line.startswith("log_lines_dropped_total")]
    assert float(lost.split()[1]) > 0, counted


def test_a_worker_without_memory_says_so_and_comes_back(fake_model: FakeModel) -> None:
    """In the middle of an answer its memory is cut off, and a long text comes: the next worker has its own."""
    reply = " ".join(map(str, range(30_000)))
    model = str(fake_model(reply=reply, step_ms=5, context=200_000))
    with serve("--engine", "fake", "--model", model) as server:
        url, told = server.ready(), ""
        asked: httpx.Response | None = None
        wanted = ASK | {"max_tokens": 150_000, "stream": True}
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=wanted, timeout=100) as stream:
            for line in stream.iter_lines():
                told += line
                if asked is None and '"content":"0' in line:
                    (worker,) = psutil.Process(server.process.pid).children()
                    worker.rlimit(psutil.RLIMIT_DATA, (1 << 20, 1 << 20))
                    asked = httpx.post(f"{url}/tokenize", json={"content": "x" * 3_000_000}, timeout=100)
        assert "ran out of memory" in told.rpartition("data: ")[2], told[-300:]
        assert "[DONE]" not in told
        assert asked is not None
        if asked.status_code != 200:  # or its own step took the rest, and the next worker answered
            assert (asked.status_code, "ran out of memory" in asked.text) == (503, True)
        assert answers(url)
        assert server.process.poll() is None


@pytest.mark.model
def test_a_model_that_finds_no_memory_is_refused_with_a_way_out(smollm2: Path) -> None:
    """The system grants less than the plan says: the load fails, and the line says memory."""
    with limited(f"--data={350 << 20}", "--model", str(smollm2), "--context", "8192", "--memory", "4GB") as server:
        assert server.process.wait(60) == 1
        server.finish()
    last = server.words.strip().splitlines()[-1]
    assert "finds no memory" in last, server.words
    assert "try a smaller --memory" in last, server.words


NOBODY = 65534
# Takes all threads that its user may still have, says so, and keeps them until its input ends.
TAKES_ALL = """
import sys, threading
wait = threading.Event()
try:
    while True:
        threading.Thread(target=wait.wait, daemon=True).start()
except RuntimeError:
    print("all", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not TORTURE, reason="needs a user of its own for a while; `make torture` runs it")
def test_threads_that_cannot_be_had(tmp_path: Path) -> None:
    """The user's processes and threads are all taken: what needs one more is refused, nothing ends, and it passes."""
    if os.geteuid() != 0 or not shutil.which("prlimit"):
        pytest.skip("limiting the threads of another user needs root and prlimit")
    home, model = tmp_path / "home", tmp_path / "fake.json"
    model.write_text("{}")
    home.mkdir()
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    os.chown(home, NOBODY, NOBODY)
    few = ["prlimit", "--nproc=100"]
    command = [*few, *SERVE, "--engine", "fake", "--model", str(model), "--home", str(home)]
    with started(command, {"OPENBLAS_NUM_THREADS": "1"}, user=NOBODY) as server:
        url = server.ready()
        greedy = subprocess.Popen(
            [*few, sys.executable, "-c", TAKES_ALL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, user=NOBODY
        )
        with greedy:
            assert greedy.stdout is not None
            assert greedy.stdout.readline() == b"all\n"
            seen = [httpx.post(f"{url}/api/import", json=[], timeout=20).status_code for _ in range(20)]
            assert httpx.get(f"{url}/healthz", timeout=20).status_code == 200
            (worker,) = psutil.Process(server.process.pid).children()
            worker.kill()
            time.sleep(0.5)  # it cannot be started again for now
            assert httpx.get(f"{url}/healthz", timeout=20).status_code == 200
            greedy.communicate(b"")
        assert answers(url, 60)
        print(f"without a thread to be had: {sorted(set(seen))}")


@pytest.mark.parametrize("damage", ["header", "schema of the future"])
def test_a_damaged_database_is_named_and_kept(fake_model: FakeModel, tmp_path: Path, damage: str) -> None:
    model, database = str(fake_model()), tmp_path / "home" / "history" / "history.db"
    with serve("--engine", "fake", "--model", model) as server:
        httpx.post(f"{server.ready()}/api/runs", json={"content": "kept"})
    with database.open("r+b") as file:
        if damage == "header":
            file.write(bytes(100))
        else:
            file.seek(60)  # SQLite keeps user_version there
            file.write((99).to_bytes(4, "big"))
    before = database.read_bytes()
    ended = run("serve", "--port", "0", "--engine", "fake", "--model", model)
    assert ended.returncode in (2, 3), ended.stderr
    assert "Traceback" not in ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("edgechat: ")]
    assert str(database) in line
    assert ("edgechat history recover" if damage == "header" else "newer") in line
    assert database.read_bytes() == before


def test_the_end_comes_during_a_pull_too(tmp_path: Path) -> None:
    """SIGTERM while bytes are fetched: no process stays, and what came is kept for the next time."""
    folder = tmp_path / "hub" / "Owner" / "Some-GGUF"
    folder.mkdir(parents=True)
    (folder / "some.gguf").write_bytes(b"GGUF" + bytes(3 << 20))
    hub = FakeHub(tmp_path / "hub")
    hub.faults.hold_at = 1 << 20
    model = "modelscope:Owner/Some-GGUF:some.gguf"
    with hub, serve("--model", model, MODELSCOPE_ENDPOINT=hub.url, EDGECHAT_DRAIN="1") as server:
        server.until_state("downloading", 60)
        deadline = time.monotonic() + 60
        while not any(asked.is_file for asked in hub.asked):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        root = psutil.Process(server.process.pid)
        everyone = [root, *root.children(recursive=True)]
        began = time.monotonic()
        server.process.terminate()
        server.process.wait(20)
        took = time.monotonic() - began
        _, alive = psutil.wait_procs(everyone, timeout=5)
        hub.release()
    print(f"exit {took:.2f} s after SIGTERM during a pull")
    assert not alive
    assert "Traceback" not in server.words
