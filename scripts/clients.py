"""Real clients against edgechat: each is installed apart, used as people use it, and what became of it is a table.

    make clients                                         a small model, everything that is listed below
    make clients ARGS="--model FILE.gguf openai claude"  another model; only these
    make clients ARGS="--scripted"                       the agents, with a script in the model's place

What each library does is in client_uses.py and client_uses.mjs; an agent (Claude Code, Codex, opencode, Continue,
aider) does a whole small task, for which the model reads its prompt of up to 18,800 tokens once. With a script the fake
engine calls the agent's own tool and then says that it is done: what is tried is the protocol, there and back.
Nothing here is part of the tests: it takes packages from the network, and minutes.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

HERE = Path(__file__).parent
APART = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgechat-clients"
EDGECHAT = str(Path(sys.executable).with_name("edgechat"))
MODEL = "qwen2.5-0.5b-instruct"
CONTEXT = 32_768  # what the prompt of Claude Code (18,800 tokens) needs
LONGEST_S = 1800.0  # of one client
PYTHON = {
    "openai": ["openai"],
    "anthropic": ["anthropic"],
    "ollama": ["ollama"],
    "litellm": ["litellm"],
    "langchain": ["langchain-openai", "langchain-anthropic", "langchain-ollama"],
    "pydantic_ai": ["pydantic-ai-slim[openai]"],
    "autogen": ["autogen-ext[openai]>=0.7", "autogen-agentchat>=0.7"],
    "instructor": ["instructor", "openai"],
}
NODE = {
    "openai": ["openai"],
    "ollama": ["ollama"],
    "ai": ["ai", "zod", "ollama-ai-provider-v2"]
    + [f"@ai-sdk/{name}" for name in ("openai", "anthropic", "openai-compatible")],
}
QUIET = {
    f"AIDER_{name}": "false" for name in ("ANALYTICS", "CHECK_UPDATE", "SHOW_MODEL_WARNINGS", "SHOW_RELEASE_NOTES")
}
COMMAND = "echo hello > out.txt"
TASK = f"Run the shell command `{COMMAND}`, then say done."
READY_S = 1800.0  # until a model is there, a download included


class Agent(NamedTuple):
    """A program that does tasks: its package, the program in it, how it is asked, and what makes it do the task."""

    package: str
    program: str
    flags: tuple[str, ...]
    reply: str


def calling(name: str, **arguments: str) -> str:
    """A reply that calls a tool."""
    return f"I run it. <tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


AGENTS = {
    "claude": Agent(
        "@anthropic-ai/claude-code",
        "claude",
        ("-p", TASK, "--output-format", "json", "--max-turns", "4", "--allowedTools", "Bash"),
        calling("Bash", command=COMMAND, description="Says hello"),
    ),
    "codex": Agent(
        "@openai/codex",
        "codex",
        ("exec", "--skip-git-repo-check", "--sandbox", "danger-full-access", TASK),
        calling("exec_command", cmd=COMMAND),
    ),
    "opencode": Agent(
        "opencode-ai",
        "opencode",
        ("run", TASK),
        calling("bash", command=COMMAND, description="Says hello"),
    ),
    "continue": Agent(
        "@continuedev/cli",
        "cn",
        ("-p", "--config", "config.yaml", "--auto", TASK),
        calling("Bash", command=COMMAND),
    ),
    "aider": Agent(
        "aider-chat",
        "aider",
        ("--message", "Write hello into out.txt.", "--edit-format", "whole", "--no-git", "--yes-always", "out.txt"),
        "I write it.\n\nout.txt\n```\nhello\n```\n",
    ),
}
# The fake engine answers the last user's turn: here that says how far the task is.
TEMPLATE = (
    "{% if tools %}{# <tool_call> #}{% endif %}{% for m in messages %}{{ m.content }}\n{% endfor %}<|im_start|>user\n"
    "{% if messages | selectattr('role', 'equalto', 'tool') | list %}called{% else %}asked{% endif %}<|im_end|>\n"
)

Row = tuple[str, str, str]  # client, use, "ok" or why not


def main() -> None:
    """Install, serve, use, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--base", help="a server that runs already, in place of one of its own")
    parser.add_argument("--scripted", action="store_true", help="agents only, with a script in the model's place")
    names = [*PYTHON, *(f"npm:{name}" for name in NODE), *AGENTS]
    parser.add_argument("clients", nargs="*", help=f"of {', '.join(names)}; all without one")
    asked = parser.parse_args()
    if unknown := set(asked.clients) - set(names):
        parser.error(f"no such client: {', '.join(sorted(unknown))}")
    rows: list[Row] = []
    for row in scripted(asked.clients or [*AGENTS]) if asked.scripted else real(asked, asked.clients or names):
        print("{:<14} {:<24} {}".format(*row), flush=True)
        rows.append(row)
    bad = sum(said != "ok" for _, _, said in rows)
    print(f"{len(rows) - bad} of {len(rows)} uses work")
    sys.exit(bool(bad))


def real(asked: argparse.Namespace, names: list[str]) -> Iterator[Row]:
    """What became of every use of the clients called `names`."""
    own = serving("--model", asked.model, "--context", str(CONTEXT))
    with nullcontext(str(asked.base)) if asked.base else own as base:
        model = json.load(urlopen(f"{base}/v1/models"))["data"][0]["id"]
        for name in names:
            yield from used(name, base, model)


def scripted(names: list[str]) -> Iterator[Row]:
    """What became of the task of the agents called `names`, whose call is written down."""
    for name in names:
        script = {
            "context": 1 << 19,
            "template": TEMPLATE,
            "replies": {"asked": AGENTS[name].reply, "called": "Done."},
        }
        with tempfile.TemporaryDirectory() as home:
            file = Path(home) / "script.json"
            file.write_text(json.dumps(script))
            with serving("--engine", "fake", "--model", str(file), "--context", "0", "--home", home) as base:
                yield name, "a scripted task", agent(name, base, file.name)


@contextmanager
def serving(*flags: str) -> Iterator[str]:
    """The address of a server with these `flags`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    APART.mkdir(parents=True, exist_ok=True)
    said = APART / "server.log"
    with said.open("w") as log:
        server = subprocess.Popen([EDGECHAT, "serve", "--port", str(port), *flags], stdout=log, stderr=log)
    try:
        base, late = f"http://127.0.0.1:{port}", time.monotonic() + READY_S
        while server.poll() is None and time.monotonic() < late:
            with suppress(OSError), urlopen(f"{base}/readyz"):
                break
            time.sleep(0.5)
        else:
            sys.exit(f"the server is not ready:\n{said.read_text()[-2000:]}")
        yield base
    finally:
        server.terminate()
        server.wait()


def used(name: str, base: str, model: str) -> Iterator[Row]:
    """What became of each use of a client."""
    if name in AGENTS:
        yield name, "a small task", agent(name, base, model)
        return
    kind, _, short = name.rpartition(":")
    command = node(short) if kind else python(short)
    done = subprocess.run(
        [*command, short, base, model], capture_output=True, text=True, timeout=LONGEST_S, check=False
    )
    lines = [line.partition("\t") for line in done.stdout.splitlines() if "\t" in line]
    yield from ((name, use, said) for use, _, said in lines)
    if done.returncode or not lines:
        yield name, "itself", " ".join(done.stderr.split()[-30:]) or "it says nothing"


def python(name: str) -> list[str]:
    """How the uses of a Python package are run, once it is installed in a venv of its own."""
    return [str(venv(f"py-{name}", PYTHON[name]) / "python"), str(HERE / "client_uses.py")]


def venv(name: str, packages: list[str]) -> Path:
    """The programs of a venv in which PyPI's `packages` are."""
    folder = APART / name
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", *packages], check=True)
        (folder / "ready").touch()
    return folder / "bin"


def node(name: str) -> list[str]:
    """The same of an npm package, in a folder of its own, from where the script finds it."""
    script = installed(f"npm-{name}", NODE[name]) / "uses.mjs"
    script.write_text((HERE / "client_uses.mjs").read_text())
    return ["node", str(script)]


def installed(name: str, packages: list[str]) -> Path:
    """The folder in which npm `packages` are."""
    folder = APART / name
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "ready").exists():
        (folder / "package.json").write_text("{}")
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", *packages], cwd=folder, check=True)
        (folder / "ready").touch()
    return folder


def agent(name: str, base: str, model: str) -> str:
    """What became of a small task in an empty folder: "ok" where it was done, and the agent ended by itself."""
    about = AGENTS[name]
    if name == "aider":
        program = venv("py-aider", [about.package]) / about.program
    else:
        program = installed(f"npm-{name}", [about.package]) / "node_modules" / ".bin" / about.program
    with tempfile.TemporaryDirectory(dir=APART) as home:
        work = Path(home) / "work"
        work.mkdir()
        environ = os.environ | {"HOME": home, "PWD": str(work)} | settings(name, base, model, Path(home), work)
        try:
            done = subprocess.run(
                [str(program), *about.flags], cwd=work, env=environ, stdin=subprocess.DEVNULL, capture_output=True,
                text=True, timeout=LONGEST_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"not done after {LONGEST_S:.0f} s"
        words = " ".join((done.stdout + done.stderr).split())
        written = (work / "out.txt").exists() and (work / "out.txt").read_text() == "hello\n"
        return "ok" if written and not done.returncode else f"not done: {words[-300:]}"


def settings(name: str, base: str, model: str, home: Path, work: Path) -> dict[str, str]:
    """What makes the agent ask edgechat, as docs/clients.md tells: of its environment, and in files that it reads."""
    match name:
        case "claude":
            return {
                "ANTHROPIC_BASE_URL": base,
                "ANTHROPIC_AUTH_TOKEN": "none",
                "ANTHROPIC_MODEL": model,
                "ANTHROPIC_SMALL_FAST_MODEL": model,
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "1024",
                "CLAUDE_STREAM_IDLE_TIMEOUT_MS": "1800000",
                "API_TIMEOUT_MS": "1800000",
            }
        case "codex":
            folder = home / ".codex"
            folder.mkdir()
            (folder / "config.toml").write_text(
                f'model = "{model}"\nmodel_provider = "edgechat"\nmodel_context_window = {CONTEXT}\n'
                f'[model_providers.edgechat]\nname = "edgechat"\nbase_url = "{base}/v1"\nwire_api = "responses"\n'
                "stream_idle_timeout_ms = 1800000\n"
            )
            return {"CODEX_HOME": str(folder)}
        case "opencode":
            provider = {
                "npm": "@ai-sdk/openai-compatible",
                "options": {"baseURL": f"{base}/v1"},
                "models": {model: {}},
            }
            told = {"model": f"edgechat/{model}", "provider": {"edgechat": provider}, "autoupdate": False}
            (work / "opencode.json").write_text(json.dumps(told))
            return {"OPENCODE_CONFIG": str(work / "opencode.json"), "OPENCODE_DISABLE_MODELS_FETCH": "1"}
        case "aider":
            return {"OPENAI_API_BASE": f"{base}/v1", "OPENAI_API_KEY": "none", "AIDER_MODEL": f"openai/{model}"} | QUIET
        case _:  # Continue
            chat = {"name": "edgechat", "provider": "openai", "model": model, "apiBase": f"{base}/v1", "apiKey": "none"}
            told = {"name": "edgechat", "version": "0.0.1", "schema": "v1", "models": [chat | {"roles": ["chat"]}]}
            (work / "config.yaml").write_text(json.dumps(told))  # JSON is YAML
            return {"CONTINUE_TELEMETRY_ENABLED": "0"}


if __name__ == "__main__":
    main()
