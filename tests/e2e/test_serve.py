"""The main job, end to end: the real command, a real model, a real client."""

import os
import signal
import socket
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest

from edgechat.types import UNTAUGHT
from tests import ggufs, tiny
from tests.conftest import FakeModel
from tests.e2e.conftest import run, serve

PARIS: Any = [{"role": "user", "content": "What is the capital of France? One word."}]


@pytest.mark.model
def test_the_capital_of_france_on_a_real_model(smollm2: Path) -> None:
    with serve("--model", str(smollm2)) as server:
        url = server.ready()
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
            whole = client.chat.completions.create(model="", messages=PARIS, temperature=0)
            assert "Paris" in (whole.choices[0].message.content or "")
            stream = client.chat.completions.create(model="", messages=PARIS, temperature=0, stream=True)
            text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        assert text == whole.choices[0].message.content


@pytest.mark.model
def test_a_cut_model_file_is_one_line_and_an_exit_status(smollm2: Path, tmp_path: Path) -> None:
    cut = ggufs.write(tmp_path / "cut.gguf", smollm2.read_bytes()[:-1000])
    ended = run("serve", "--port", "0", "--model", str(cut))
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("edgechat: cut.gguf is not a usable GGUF model: it is cut off")
    assert "Traceback" not in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("arguments", "environ", "status", "says"),
    [
        (["--model", "no-such-model"], {}, 2, "unknown"),
        (["--model", "/no/such/file.gguf"], {}, 2, "/no/such/file.gguf"),
        (["--host", "0.0.0.0"], {}, 2, "edgechat key add"),
        (["--check-config"], {"EDGECHAT_HOSTS": "chat.example"}, 2, "edgechat key add"),
        (["--tls-cert", "/no/such.pem"], {}, 2, "/no/such.pem"),
        ([], {"EDGECHAT_PROT": "1"}, 2, "did you mean 'port'"),
        (["--port", "99999"], {}, 2, "port"),
        (["--engine", "lama", "--model", "x"], {}, 2, "llama_cpp"),
        (["--config", "/no/such/file.toml"], {}, 2, "/no/such/file.toml"),
    ],
)
def test_bad_usage_is_one_line_and_an_exit_status(
    arguments: list[str], environ: dict[str, str], status: int, says: str
) -> None:
    ended = run("serve", "--port", "0", *arguments, **environ)
    assert (ended.returncode, says in ended.stderr) == (status, True), ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    assert len([line for line in ended.stderr.splitlines() if line.startswith("edgechat: ")]) == 1


def test_a_port_in_use_is_said_at_once(fake_model: FakeModel) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("serve", "--engine", "fake", "--model", str(fake_model()), "--port", str(port))
    assert ended.returncode == 4
    assert f"127.0.0.1:{port} is in use by process {os.getpid()} (" in ended.stderr


def test_check_config_checks_and_stops() -> None:
    assert run("serve", "--check-config").returncode == 0
    assert run("serve", "--check-config", "--context", "-1").returncode == 2
    assert run("serve", "--check-config", "--memory", "1.2GB").returncode == 0
    assert run("serve", "--check-config", "--memory", "plenty").returncode == 2


def test_only_loopback_is_listened_on_and_sigterm_leaves_nothing(fake_model: FakeModel) -> None:
    with serve("--engine", "fake", "--model", str(fake_model())) as server:
        server.ready()
        process = psutil.Process(server.process.pid)
        family = [process, *process.children(recursive=True)]
        listening = [c.laddr.ip for one in family for c in one.net_connections() if c.status == psutil.CONN_LISTEN]
        assert set(listening) == {"127.0.0.1"}
        process.send_signal(signal.SIGTERM)
        assert server.process.wait(12) == 0
        assert not any(one.is_running() for one in family[1:])


def test_a_killed_server_leaves_no_worker(fake_model: FakeModel) -> None:
    with serve("--engine", "fake", "--model", str(fake_model())) as server:
        server.ready()
        workers = psutil.Process(server.process.pid).children(recursive=True)
        assert workers
        server.process.kill()
        _, alive = psutil.wait_procs(workers, timeout=5)
        assert not alive


def test_a_model_without_a_template_is_served_in_chatml_and_it_is_said(tmp_path: Path) -> None:
    with serve("--model", str(tiny.model(tmp_path / "tiny.gguf", "llama", None))) as server:
        assert server.ready()
        assert server.readiness()["why"] == UNTAUGHT
        assert server.said(f"({UNTAUGHT})", 10)
    with serve("--model", str(tiny.model(tmp_path / "taught.gguf", "llama"))) as server:
        assert server.ready()
        assert server.readiness()["why"] is None
