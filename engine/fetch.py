"""Get llama.cpp's sources as llama.cpp.txt pins them. Called by CMakeLists.txt.

They lie in the source distribution of a package, so pip gets them, over the index, proxy and credentials that it is set
up with. It holds them to the SHA-256 before it looks into them; it is kept in the user's cache, and held to it again.

    python fetch.py FOLDER      what a build needs of llama.cpp, in FOLDER
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PIN = Path(__file__).with_name("llama.cpp.txt")
INSIDE = re.compile(
    r"[^/]+/vendor/llama\.cpp/((?:cmake|ggml|include|licenses|src|tools/mtmd|vendor)/.+|CMakeLists\.txt|LICENSE)"
)


def pinned(text: str) -> tuple[str, str]:
    """(file name of the source distribution, its SHA-256)."""
    found = re.search(r"^([\w-]+)==([\d.]+) --hash=sha256:([0-9a-f]{64})$", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"{PIN.name} has no line like NAME==VERSION --hash=sha256:…")
    return f"{found[1].replace('-', '_')}-{found[2]}.tar.gz", found[3]


def distribution(cache: Path) -> Path:
    """The source distribution in `cache`, which is got unless it is there."""
    name, digest = pinned(PIN.read_text())
    kept = cache / name
    if kept.exists() and _digest(kept) == digest:
        return kept
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--no-binary", ":all:", "--no-build-isolation", "--dest", scratch, "--requirement", str(PIN)]
        if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
            raise OSError(f"pip could not get {name}: see its words above")
        if (found := _digest(Path(scratch, name))) != digest:
            raise ValueError(f"{name} has the SHA-256 {found}, and {digest} is pinned")
        Path(scratch, name).replace(kept)
    return kept


def unpack(archive: Path, folder: Path) -> None:
    """What a build needs, in `folder`, which appears only when it is whole."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    with tarfile.open(archive) as tar:
        wanted = []
        for member in tar:
            if found := INSIDE.fullmatch(member.name):
                member.name = found[1]
                wanted.append(member)
        if hasattr(tarfile, "data_filter"):
            tar.extraction_filter = tarfile.data_filter  # not every Python 3.11 has it; these bytes are known anyway
        tar.extractall(part, wanted)  # noqa: S202
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    folder = Path(sys.argv[1])
    _, digest = pinned(PIN.read_text())
    mark = folder / "SHA256"
    if mark.exists() and mark.read_text() == digest:
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgechat" / "engine"
    try:
        unpack(distribution(cache), folder)
    except (OSError, ValueError, tarfile.TarError) as error:
        sys.exit(f"edgechat-engine: llama.cpp's sources are missing: {error}.")
    mark.write_text(digest)


if __name__ == "__main__":
    main()
