"""Compile the engine for this processor, once per machine.

Why compile at all: no ready-made wheel of llama.cpp uses the machine's own instructions, and every one of them is
built with OpenMP, whose threads spin against each other as soon as two engines (or one engine and anything else)
share the cores. Built natively and with llama.cpp's own thread pool, the same file reads prompts about twice as fast.
Attention is our own (engine_attention.cpp), and so are products of matrices, where the processor has AVX-512 VNNI:
about twice as fast as llama.cpp's (engine_interleaved.cpp, engine_blocks.cpp).

The wheel lies in the user's cache under a key of version, flags, Python platform and processor: pip's own wheel cache
knows none of them and would silently hand back another build. A second set-up on the same machine finds it there.

    python3 scripts/engine.py              prints the wheel's path, compiling it first if it is not there
    python3 scripts/engine.py --portable   the same for an image: a module for each generation of processors, the best
                                           of which is chosen where it runs
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

VERSION = "0.3.36"
PACKAGE = f"llama-cpp-python=={VERSION}"
CHANGED = Path(__file__).with_name("engine.cmake")  # what is left out, and what is replaced by
KERNELS = sorted(CHANGED.parent.glob("engine_*.*"))
NATIVE = (
    "-DGGML_OPENMP=OFF",  # llama.cpp's own thread pool: fair beside neighbours
    "-DGGML_NATIVE=ON",  # every instruction this processor has
    "-DLLAVA_BUILD=OFF",  # pictures are not served yet
)
PORTABLE = (
    "-DGGML_OPENMP=OFF",
    "-DGGML_NATIVE=OFF",
    "-DLLAVA_BUILD=OFF",
    "-DGGML_BACKEND_DL=ON",
    "-DGGML_CPU_ALL_VARIANTS=ON",  # a module for each generation, loaded by bindings.py from beside the library
    "-DCMAKE_INSTALL_BINDIR:STRING=llama_cpp/lib",  # … where CMake would not put them
)
WHY = f"""\
edgechat compiles its engine (llama.cpp {VERSION}) for this processor: 3 to 5 minutes on two cores, once per machine.
Built here it reads prompts about twice as fast as a ready-made wheel, and it does not collapse beside a neighbour."""


def processor() -> str:
    """What decides which instructions a native build uses: the processor's name and feature flags."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    keys = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(keys)}))


def wheel_folder(flags: tuple[str, ...]) -> Path:
    """Where a build lies: one folder per version, flags, platform and, where that matters, processor."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    whose = "any" if flags == PORTABLE else processor()
    ours = (path.read_text() for path in (CHANGED, *KERNELS))
    key = "\n".join((VERSION, *flags, *ours, sys.platform, platform.machine(), whose))
    return cache / "edgechat" / "engine" / f"{VERSION}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def built_wheel(flags: tuple[str, ...]) -> Path | None:
    """The wheel of an earlier set-up, or None."""
    return next(iter(sorted(wheel_folder(flags).glob("llama_cpp_python-*.whl"))), None)


def compile_wheel(flags: tuple[str, ...], log: Path) -> Path:
    """Compile into a temporary folder, then rename: a set-up that was interrupted leaves no half wheel."""
    folder = wheel_folder(flags)
    staging = folder.with_name(f"{folder.name}.{os.getpid()}")
    staging.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "wheel", "--verbose", "--no-cache-dir", "--no-deps"]
    command += [
        "--disable-pip-version-check",
        "--no-binary",
        "llama-cpp-python",
        "--wheel-dir",
        str(staging),
        PACKAGE,
    ]
    jobs = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    told = " ".join((*flags, f"-DCMAKE_PROJECT_llama_cpp_INCLUDE={CHANGED}"))
    environment = os.environ | {"CMAKE_ARGS": told, "CMAKE_BUILD_PARALLEL_LEVEL": jobs}
    try:
        with (
            log.open("w") as sink,
            subprocess.Popen(
                command,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            ) as child,
        ):
            assert child.stdout is not None
            show_progress(child.stdout, sink)
        if child.returncode:
            sys.exit(f"edgechat: the engine did not compile; the last lines are in {log}. {advice()}")
        shutil.rmtree(folder, ignore_errors=True)
        staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    wheel = built_wheel(flags)
    assert wheel is not None
    return wheel


def show_progress(lines: Iterable[str], sink: TextIO) -> None:
    """Keep the compiler's words in the log; show a person the step, of how many, and the time."""
    started = time.monotonic()
    step = "fetching the source"
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


def advice() -> str:
    """What a person can do about a failed compile."""
    if not any(shutil.which(name) for name in ("cc", "gcc", "clang")):
        return "No C compiler was found: install one (Debian, Ubuntu: apt install build-essential)."
    return "A C and C++ compiler and about 1 GB of free memory are needed."


def ensure_wheel(flags: tuple[str, ...] = NATIVE) -> Path:
    """The engine's wheel for this machine, compiled if it is not there."""
    if wheel := built_wheel(flags):
        return wheel
    print(WHY if flags == NATIVE else "edgechat compiles its engine for every processor of this kind.", file=sys.stderr)
    folder = wheel_folder(flags)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return compile_wheel(flags, folder.parent / f"{folder.name}.log")


if __name__ == "__main__":
    print(ensure_wheel(PORTABLE if "--portable" in sys.argv[1:] else NATIVE))
