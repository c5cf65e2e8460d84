"""Real clients against edgechat: each is installed apart, used as people use it, and what became of it is a table.

    make clients                                         a small model, everything that is listed below
    make clients ARGS="--model FILE.gguf openai claude"  another model; only these

What each library does is in client_uses.py and client_uses.mjs; Claude Code and Codex do a whole small task, for which
the model reads their prompts of 6,300 and 18,800 tokens once. Nothing here is part of the tests: it takes packages from
the network, and minutes.
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
from contextlib import contextmanager, suppress
from pathlib import Path
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
AGENTS = {"claude": "@anthropic-ai/claude-code", "codex": "@openai/codex"}
TASK = "Run the shell command `echo hello > out.txt`, then say done."

Row = tuple[str, str, str]  # client, use, "ok" or why not


def main() -> None:
    """Install, serve, use, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--base", help="a server that runs already, in place of one of its own")
    names = [*PYTHON, *(f"npm:{name}" for name in NODE), *AGENTS]
    parser.add_argument("clients", nargs="*", help=f"of {', '.join(names)}; all without one")
    asked = parser.parse_args()
    if unknown := set(asked.clients) - set(names):
        parser.error(f"no such client: {', '.join(sorted(unknown))}")
    rows: list[Row] = []
    with serving(asked.model, asked.base) as base:
        model = json.load(urlopen(f"{base}/v1/models"))["data"][0]["id"]
        for name in asked.clients or names:
            for row in used(name, base, model):
                print("{:<14} {:<24} {}".format(*row), flush=True)
                rows.append(row)
    bad = sum(said != "ok" for _, _, said in rows)
    print(f"{len(rows) - bad} of {len(rows)} uses work")
    sys.exit(bool(bad))


@contextmanager
def serving(model: str, base: str | None) -> Iterator[str]:
    """The address of a server of `model`, or `base`."""
    if base:
        yield base
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [EDGECHAT, "serve", "--model", model, "--port", str(port), "--context", str(CONTEXT)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        base = f"http://127.0.0.1:{port}"
        while server.poll() is None:
            with suppress(OSError), urlopen(f"{base}/health"):
                break
            time.sleep(0.5)
        else:
            sys.exit("the server ended by itself.")
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
    folder = APART / f"py-{name}"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", *PYTHON[name]], check=True)
        (folder / "ready").touch()
    return [str(folder / "bin" / "python"), str(HERE / "client_uses.py")]


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
    """What became of a small task in an empty folder: the agent ends by itself, without an error of the API's."""
    program = installed(f"npm-{name}", [AGENTS[name]]) / "node_modules" / ".bin" / name
    with tempfile.TemporaryDirectory() as home:
        work = Path(home) / "work"
        work.mkdir()
        environ = os.environ | {"HOME": home} | settings(name, base, model, Path(home))
        flags = {
            "claude": ["-p", TASK, "--output-format", "json", "--max-turns", "4", "--allowedTools", "Bash"],
            "codex": ["exec", "--skip-git-repo-check", "--sandbox", "workspace-write", TASK],
        }
        command = [str(program), *flags[name]]
        try:
            done = subprocess.run(
                command, cwd=work, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=LONGEST_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"not done after {LONGEST_S:.0f} s"
        words = " ".join((done.stdout + done.stderr).split())
        failed = done.returncode and "max_turns" not in words
        return words[-300:] if failed or "API Error" in words else "ok"


def settings(name: str, base: str, model: str, home: Path) -> dict[str, str]:
    """What makes the agent ask edgechat, as docs/clients.md tells."""
    if name == "claude":
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
    folder = home / ".codex"
    folder.mkdir()
    (folder / "config.toml").write_text(
        f'model = "{model}"\nmodel_provider = "edgechat"\nmodel_context_window = {CONTEXT}\n'
        f'[model_providers.edgechat]\nname = "edgechat"\nbase_url = "{base}/v1"\nwire_api = "responses"\n'
        "stream_idle_timeout_ms = 1800000\n"
    )
    return {"CODEX_HOME": str(folder)}


if __name__ == "__main__":
    main()
