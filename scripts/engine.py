"""The engine's wheel, compiled once per machine. Run by whatever Python; needs no .venv.

Why compile at all: a ready-made wheel for this very processor is nowhere to be had. Built natively, engine/ uses every
instruction that the processor has; the portable build, for images and for machines without a compiler, has a module for
each generation of processors instead.

    user's cache/edgechat/engine/0.3.36.4-<key>/     the wheel; key: all that is in engine/, the kind, the processor
    engine/build/native-<key>/                       object files; key: the kind and the processor

pip's own wheel cache knows none of these, and would silently hand back another build. A second set-up on the same
machine finds the wheel; after a change in engine/, only what is concerned is compiled again.

    python3 scripts/engine.py              prints the wheel's path, compiling it first if it is not there
    python3 scripts/engine.py portable     the same for every processor of this kind
    python3 scripts/engine.py sanitized    the same with AddressSanitizer and UndefinedBehaviorSanitizer
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

ENGINE = Path(__file__).resolve().parent.parent / "engine"
VERSION = re.findall(r'^version = "(.+)"', (ENGINE / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)[0]
KINDS = {"native": (), "portable": ("EDGECHAT_PORTABLE",), "sanitized": ("EDGECHAT_SANITIZE",)}  # CMakeLists.txt
WHEEL = "edgechat_engine-*.whl"
ASIDE = {"build", "tests", "__pycache__"}  # what is in engine/ and not in the wheel
WHY = {
    "native": "for this processor: 3 to 5 minutes on two cores, once per machine.",
    "portable": "for every processor of this kind: ten minutes and more.",
    "sanitized": "with what finds wrong accesses to memory: some minutes.",
}


def processor() -> str:
    """What decides which instructions a native build uses: the processor's name and feature flags."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    keys = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(keys)}))


def target(kind: str) -> str:
    """What is compiled for: the kind of build, the system, and where that matters the processor."""
    return "\n".join((kind, sys.platform, platform.machine(), "any" if kind == "portable" else processor()))


def key(*parts: bytes) -> str:
    return hashlib.sha256(b"\n".join(parts)).hexdigest()[:12]


def wheel_folder(kind: str) -> Path:
    """Where a build lies: one folder per source, version and target."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    files = (path.relative_to(ENGINE) for path in sorted(ENGINE.rglob("*")) if path.is_file())
    mine = [file for file in files if not ASIDE & set(file.parts)]
    sources = (part for file in mine for part in (str(file).encode(), (ENGINE / file).read_bytes()))
    return cache / "edgechat" / "engine" / f"{VERSION}-{key(target(kind).encode(), *sources)}"


def compile_wheel(kind: str, objects: Path, folder: Path) -> None:
    """Compile into a temporary folder, then rename: a set-up that was interrupted leaves no half wheel."""
    log = folder.with_name(f"{folder.name}.log")
    staging = folder.with_name(f"{folder.name}.{os.getpid()}")
    staging.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "wheel", "--verbose", "--no-cache-dir", "--no-deps"]
    command += ["--disable-pip-version-check", "--wheel-dir", str(staging), str(ENGINE)]
    command += [f"--config-settings=build-dir={objects}"]
    command += [f"--config-settings=cmake.define.{option}=ON" for option in KINDS[kind]]
    try:
        with (
            log.open("w") as sink,
            subprocess.Popen(
                command,
                env={"CMAKE_BUILD_PARALLEL_LEVEL": str(cores())} | os.environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            ) as child,
        ):
            assert child.stdout is not None
            show_progress(child.stdout, sink)
        if child.returncode:
            sys.exit(
                f"edgechat: the engine did not compile: {reason(log.read_text(errors='replace'))} All of it: {log}"
            )
        shutil.rmtree(folder, ignore_errors=True)
        staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def show_progress(lines: Iterable[str], sink: TextIO) -> None:
    """Keep the compiler's words in the log; show a person the step, of how many, and the time."""
    started = time.monotonic()
    step = "getting ready"
    shown = ""
    for line in lines:
        sink.write(line)
        if found := re.search(r"\[(\d+)/(\d+)\]", line):
            step = f"step {found[1]} of {found[2]}"
        now = f"  compiling the engine: {step}, {time.monotonic() - started:.0f} s"
        if sys.stderr.isatty():
            print(f"\r\x1b[K{now}", end="", file=sys.stderr, flush=True)
        elif step != shown and (found is None or int(found[1]) % 20 == 0):
            print(now, file=sys.stderr, flush=True)
        shown = step
    print(f"\r  the engine's build ended after {time.monotonic() - started:.0f} s", file=sys.stderr)


def reason(words: str) -> str:
    """What a person can do about a failed compile: what engine/ says itself, or what is missing most often."""
    said = re.findall(r"edgechat-engine: (.+)", words)
    return said[-1] if said else "a C and C++ compiler and about 1 GB of free memory are needed."


def ensure_wheel(kind: str = "native") -> Path:
    """The engine's wheel, compiled if it is not there."""
    folder = wheel_folder(kind)
    if not list(folder.glob(WHEEL)):
        objects = ENGINE / "build" / f"{kind}-{key(VERSION.encode(), target(kind).encode())}"
        what = "compiles again what changed in its engine." if objects.exists() else f"compiles its engine {WHY[kind]}"
        print(f"edgechat {what}", file=sys.stderr)
        compile_wheel(kind, objects, folder)
    return next(folder.glob(WHEEL))


if __name__ == "__main__":
    chosen = sys.argv[1] if len(sys.argv) > 1 else "native"
    if chosen not in KINDS:
        sys.exit(f"{chosen} is no kind of build; there is: {', '.join(KINDS)}")
    print(ensure_wheel(chosen))
